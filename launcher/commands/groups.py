"""A verb that has verbs of its own; a mistyped one gets the nearest known verb."""

from __future__ import annotations

import click

from launcher.errors import did_you_mean


class Group(click.Group):
    """A group that refuses an unknown verb with a sentence."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb."""
        verbs = self.list_commands(ctx)
        if args and args[0] not in verbs and not args[0].startswith("-"):
            raise click.UsageError(f"there is no verb {args[0]!r}{did_you_mean(args[0], verbs, 'verbs')}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs."""
        verbs = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Verbs"):
            formatter.write_dl([(name, verb.get_short_help_str(100)) for name, verb in verbs if verb])
