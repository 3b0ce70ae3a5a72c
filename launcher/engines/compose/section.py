"""What a cluster file says to compose, in its section of that name."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from launcher.spec.run_spec import Model


class ComposeSection(Model):
    """How the containers of a run are set up."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"internal": True}]})

    internal: Annotated[
        bool,
        Field(strict=True, description="close the containers' network: they reach no other machine", examples=[True]),
    ] = False


section = ComposeSection
