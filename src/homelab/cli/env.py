"""`homelab env`: what a shell needs to use the lab's services with their own clients."""

import click

from homelab.cli.job import as_json
from homelab.home.paths import Home


@click.command()
@as_json
def env(as_json: bool) -> None:
    """Print what a shell needs: eval "$(homelab env)". It prints credentials; do not paste it anywhere."""
    import shlex

    from homelab.cli import output

    variables = variables_of(Home.default())
    if as_json:
        output.json_document(variables)
    else:
        for name, value in variables.items():
            output.line(f"export {name}={shlex.quote(value)}")


def variables_of(home: Home) -> dict[str, str]:
    """The variables of the lab of this home, as its services listen now. NotFoundError when it was never up."""
    from urllib.parse import quote

    from homelab.home import endpoints
    from homelab.home.secrets import database_password, prefect_auth, read_or_create

    prefect = endpoints.require(home, "prefect")
    database = endpoints.require(home, "postgres")
    if password := database_password(home, database):
        database = database.replace("@", f":{quote(password, safe='')}@", 1)
    return {
        "HOMELAB_HOME": str(home.root),
        "HOMELAB_URL": endpoints.require(home, "control"),
        "HOMELAB_TOKEN": read_or_create(home, "token-admin"),
        "PREFECT_API_URL": prefect,
        "PREFECT_API_AUTH_STRING": prefect_auth(home),
        "DATABASE_URL": database,
    }
