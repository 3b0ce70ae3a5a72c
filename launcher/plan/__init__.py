"""A ClusterSpec and an Inventory become a Plan: what starts where; pure."""
