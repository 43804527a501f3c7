"""libsrtp2 with OpenSSL's ciphers, from Debian's source package: what Janus is tuned with. Debian builds its own with NSS, which is slower."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from ..build import NotInstalled, compiler, work_folder

SOURCES = Path("/etc/apt/sources.list.d")
NEEDED = ("apt-get", "dpkg-source", "make")
OPENSSL = Path("/usr/include/openssl/evp.h")
PATIENCE = 300.0  # seconds for one step


def built() -> Path:
    """The folder with libsrtp2.so.1, made once. Raises NotInstalled."""
    folder = work_folder() / "libsrtp2"
    source = folder / "source"
    if (source / "libsrtp2.so.1").exists():
        return source
    for name in NEEDED:
        if shutil.which(name) is None:
            raise NotInstalled(name)
    if not OPENSSL.exists():
        raise NotInstalled("the headers of OpenSSL")
    compiler()
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _unpack(folder, source)
        _run(["./configure", "--enable-openssl"], source)
        _run(["make", "shared_library"], source)
    except subprocess.SubprocessError as fault:
        raise NotInstalled(f"libsrtp2 built with OpenSSL ({type(fault).__name__})") from fault
    return source


def _unpack(folder: Path, source: Path) -> None:
    """The source package of the release that this machine runs; apt's own lists stay as they are."""
    parts, lists = folder / "parts", folder / "lists"
    parts.mkdir(parents=True)
    (lists / "partial").mkdir(parents=True)
    for each in SOURCES.glob("*.sources"):
        lines = each.read_text().splitlines()
        (parts / each.name).write_text("\n".join("Types: deb-src" if line.startswith("Types:") else line for line in lines) + "\n")
    if not list(parts.iterdir()):
        raise NotInstalled("sources of Debian's packages")
    places = {"Dir::Etc::sourcelist": "/dev/null", "Dir::Etc::sourceparts": str(parts), "Dir::State::lists": str(lists)}
    apt = ["apt-get", "--quiet", *(word for name, value in places.items() for word in ("-o", f"{name}={value}"))]
    _run([*apt, "update"], folder)
    _run([*apt, "source", "--download-only", "libsrtp2"], folder)
    described = next(folder.glob("libsrtp2_*.dsc"), None)
    if described is None:
        raise NotInstalled("the source package of libsrtp2")
    _run(["dpkg-source", "--no-check", "--extract", described.name, source.name], folder)  # apt has checked the signatures


def _run(command: list[str], folder: Path) -> None:
    subprocess.run(command, cwd=folder, check=True, timeout=PATIENCE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
