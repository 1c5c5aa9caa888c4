"""Fetches what the tests need beyond Python packages: a Chromium for the report's page.

Does nothing where `chromium` is on the PATH. As root on Debian it installs the package; elsewhere
it says what to install, and the tests that need it fail with the same words.
"""

import os
import shutil
import subprocess

if shutil.which("chromium") is None:
    if os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"],
            check=False,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        )
    if shutil.which("chromium") is None:
        print("Chromium is missing; the tests of the report need it (Debian's package: chromium).")
