"""Runs the lines of deploy/Dockerfile in a fresh Debian root, to test it without Docker.

    debootstrap --variant=minbase bookworm /tmp/root
    python deploy/try_image.py /tmp/root mnist_mechanics.fully_connected_feed --sample

It needs root permissions and chroot. It executes every COPY, RUN, USER, WORKDIR, ENV and ENTRYPOINT
as written, then runs the arguments as the image would. If PIP_CERT is set, pip uses that
certificate in the image too.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent


def main() -> int:
    """Builds the image in the folder of the first argument, and runs the other arguments in it."""
    root, arguments = pathlib.Path(sys.argv[1]), sys.argv[2:]
    shutil.copy("/etc/resolv.conf", root / "etc" / "resolv.conf")
    workdir, user, environment, entry = "/", "root", {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}, []
    if certificate := os.environ.get("PIP_CERT"):
        shutil.copy(certificate, root / "etc" / "pip-certificate.crt")
        environment["PIP_CERT"] = "/etc/pip-certificate.crt"

    def run(command: list[str]) -> int:
        assignments = [f"{name}={value}" for name, value in environment.items()]
        inside = ["/usr/bin/env", "-i", "-C", workdir, *assignments, *command]
        group = ["--userspec", user] if user != "root" else []
        return subprocess.call(["chroot", *group, str(root), *inside])

    text = re.sub(r"\\\n", " ", (REPOSITORY / "deploy" / "Dockerfile").read_text())
    for line in text.splitlines():
        word, _, rest = line.partition(" ")
        print(f"# {line}", flush=True)
        if word == "RUN":
            if code := run(["/bin/sh", "-c", rest]):
                return code
        elif word == "COPY":
            *sources, target = rest.split()
            for source in sources:
                place = root / workdir[1:] / (source if target == "./" else target)
                place.parent.mkdir(parents=True, exist_ok=True)
                if (REPOSITORY / source).is_dir():
                    shutil.copytree(REPOSITORY / source, place, dirs_exist_ok=True)
                else:
                    shutil.copy(REPOSITORY / source, place)
        elif word == "WORKDIR":
            workdir = rest
            (root / workdir[1:]).mkdir(parents=True, exist_ok=True)
        elif word == "USER":
            user = rest
        elif word == "ENV":
            environment.update(part.split("=", 1) for part in rest.split())
        elif word == "ENTRYPOINT":
            entry = json.loads(rest)
    subprocess.run(["mount", "--bind", "/proc", root / "proc"], check=True)  # as in a container
    try:
        return run([*entry, *arguments])
    finally:
        subprocess.run(["umount", root / "proc"], check=True)


if __name__ == "__main__":
    raise SystemExit(main())
