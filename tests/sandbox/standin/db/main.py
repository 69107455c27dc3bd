"""`docker-entrypoint.sh postgres ...`: first start, then the server.

The order is the real image's (stack-facts 4.1): a temporary server on the unix socket only, the image's own SQL as
`postgres`, the password of supabase_admin, the migrations as supabase_admin (which take superuser away from postgres),
then the mounted /etc/postgresql.schema.sql, then the final server. A failed first start leaves its half-made data
behind, and the next start takes that for complete: that trap is upstream's, and it is kept on purpose.
"""

import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

from .. import startup

# An image has one server; which one is the image's business.
BIN = next(Path("/usr/lib/postgresql").glob("*/bin"))
DATA = Path("/var/lib/postgresql/data")
SOCKET = Path("/var/run/postgresql")
TEMPLATE = "/sandbox/pgdata"
CUSTOM = Path("/etc/postgresql-custom")
INCLUDED = ("supautils.conf", "wal-g.conf", "read-replica.conf")
MOUNTED_SQL = "/etc/postgresql.schema.sql"
OWN = Path(__file__).resolve().parent
# A temporary server on a loaded two-core machine has taken 8 s; a minute means that it will never come.
_TEMPORARY_S = "60"


def main(*arguments):
    if arguments[:1] != ("postgres",):
        startup.refuse("db", f"command: expected postgres and its options, found {' '.join(arguments) or 'nothing'}")
    startup.begin("db")
    check_custom()
    user = pwd.getpwnam("postgres")
    for folder, mode in ((DATA, 0o700), (SOCKET, 0o2775)):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.chown(folder, user.pw_uid, user.pw_gid)
        folder.chmod(mode)
    become(user)
    if not (DATA / "PG_VERSION").exists():
        first_start(arguments)
    os.execv(f"{BIN}/postgres", ["postgres", *arguments[1:]])


def check_custom():
    """Include files come from the image through a named volume; a bind mount of an empty folder hides them."""
    for name in INCLUDED:
        if not (CUSTOM / name).is_file():
            startup.refuse(
                "db",
                f'could not open file "{CUSTOM}/{name}": the volume at {CUSTOM} must be a named one, '
                "which the engine fills from the image",
            )
    key = CUSTOM / "pgsodium_root.key"
    if re.fullmatch("[0-9a-fA-F]{64}", key.read_text(encoding="ascii", errors="replace").strip()) is None:
        startup.refuse("db", f"{key}: expected 64 hexadecimal digits (32 bytes)")
    if not key.stat().st_mode & 0o004:
        startup.refuse(
            "db", f"{key}: expected a file that the user postgres can read, found mode {key.stat().st_mode & 0o777:o}"
        )


def become(user):
    """From root, which owns the volumes, to postgres, as which the server insists to run."""
    if os.getuid() == 0:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
    os.environ["HOME"] = "/var/lib/postgresql"


def first_start(arguments):
    print('The files belonging to this database system will be owned by user "postgres".', flush=True)
    # The cluster was made by initdb when the image was built; copying it saves a second of two cores per project.
    for entry in os.scandir(TEMPLATE):
        target = DATA / entry.name
        shutil.copytree(entry.path, target) if entry.is_dir() else shutil.copy2(entry.path, target)
    options = " ".join(["-c listen_addresses=''", *(f"'{item}'" for item in arguments[1:])])
    run(
        [
            f"{BIN}/pg_ctl",
            "-D",
            str(DATA),
            "-w",
            "-t",
            _TEMPORARY_S,
            "-s",
            "-l",
            "/tmp/first-start.log",
            "-o",
            options,
            "start",
        ]
    )
    password = os.environ["POSTGRES_PASSWORD"]
    psql("postgres", "-c", f"alter user postgres with password '{password}'")
    scripts = [item for path in sorted((OWN / "init-scripts").glob("*.sql")) for item in ("-f", str(path))]
    psql("postgres", *scripts)
    psql("postgres", "-c", f"alter user supabase_admin with password '{password}'")
    migrations = [item for path in sorted((OWN / "migrations").glob("*.sql")) for item in ("-f", str(path))]
    psql("supabase_admin", *migrations)
    if os.path.exists(MOUNTED_SQL):
        print(f"docker-entrypoint: running {MOUNTED_SQL}", flush=True)
        psql("supabase_admin", "-f", MOUNTED_SQL)
    psql("supabase_admin", "-c", "select extensions.pg_stat_statements_reset(), pg_stat_reset()")
    run([f"{BIN}/pg_ctl", "-D", str(DATA), "-w", "-t", _TEMPORARY_S, "-s", "-m", "fast", "stop"])
    print("PostgreSQL init process complete; ready for start up.", flush=True)


def psql(role, *arguments):
    """Stops at the first error, and so does the first start."""
    environment = {
        **os.environ,
        "PGPASSWORD": os.environ["POSTGRES_PASSWORD"],
        "PGHOST": os.environ["POSTGRES_HOST"],
        "PGOPTIONS": "-c client_min_messages=warning",
    }
    run(
        [
            "psql",
            "-v",
            "ON_ERROR_STOP=1",
            "--no-password",
            "--no-psqlrc",
            "-q",
            "-U",
            role,
            "-d",
            os.environ["POSTGRES_DB"],
            *arguments,
        ],
        environment,
    )


def run(command, environment=None):
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        name = os.path.basename(command[0])
        print(
            f"sandbox db: the first start failed in {name} (exit {done.returncode}); remove the data folder before the "
            "next try",
            file=sys.stderr,
            flush=True,
        )
        sys.exit(1)
