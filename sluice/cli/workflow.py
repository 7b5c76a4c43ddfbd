"""``sluice workflow``: checks, configures, starts, watches and stops workflows."""

import typer

from sluice.cli import workflow_configs, workflow_lint, workflow_run, workflow_runs

app = typer.Typer()
workflow = typer.Typer(no_args_is_help=True)
app.add_typer(workflow, name="workflow", help="Start, watch and stop workflows; check documents.")
for part in (workflow_run, workflow_runs, workflow_configs, workflow_lint):
    workflow.add_typer(part.commands)
