"""Downloads Debian packages without touching the system, with separate apt roots in the cache.

The archive and its key are taken from the apt sources of the system.
"""

import fcntl
import glob
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

STARTED = time.monotonic()


class Failure(Exception):
    """An error whose text is shown to the user."""


def say(text):
    print("%6.1f s  %s" % (time.monotonic() - STARTED, text), flush=True)


def cache(*parts):
    """A path in the cache. Creates its parent folder."""
    base = os.environ.get("RUSTIX_URING_CACHE")
    if not base:
        base = os.path.join(
            os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "rustix-uring"
        )
    path = Path(base).absolute().joinpath(*parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


class Lock:
    """A lock among threads, and among processes that share the cache."""

    def __init__(self, name):
        self.path = cache("locks", name)

    def __enter__(self):
        self.file = open(self.path, "w")
        fcntl.flock(self.file, fcntl.LOCK_EX)

    def __exit__(self, *_):
        self.file.close()


def run(argv, **options):
    """Runs a command and returns its output. If it fails, the failure contains the end of the output."""
    done = subprocess.run(
        [str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, errors="replace", **options,
    )
    if done.returncode != 0:
        tail = "\n".join(done.stdout.strip().splitlines()[-15:])
        command = " ".join(str(a) for a in argv if not str(a).startswith(("-o", "Dir::", "Acquire:")))
        raise Failure("%s: exit status %d\n%s" % (command[:300], done.returncode, tail))
    return done.stdout


SUITE = re.compile(r"^(bullseye|bookworm|trixie|forky|sid|stable|testing|unstable)$")


def archive():
    """The address and the keyring of the Debian archive that the system uses."""
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    if os.environ.get("RUSTIX_URING_DEBIAN"):
        return os.environ["RUSTIX_URING_DEBIAN"], keyring
    for path in sorted(glob.glob("/etc/apt/sources.list.d/*.sources")):
        for stanza in re.split(r"\n\s*\n", Path(path).read_text(errors="replace")):
            field = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*?)[ \t]*$", stanza, re.M))
            field = {name.lower(): value for name, value in field.items()}
            if "deb" not in field.get("types", "").split() or not field.get("uris"):
                continue
            if any(SUITE.match(s) for s in field.get("suites", "").split()):
                signed = field.get("signed-by", "")
                return field["uris"].split()[0], signed if signed.startswith("/") else keyring
    for path in ["/etc/apt/sources.list", *sorted(glob.glob("/etc/apt/sources.list.d/*.list"))]:
        text = Path(path).read_text(errors="replace") if os.path.exists(path) else ""
        for uri, suite in re.findall(r"^deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s.*\bmain\b", text, re.M):
            if SUITE.match(suite):
                return uri, keyring
    raise Failure("found no Debian archive in /etc/apt; set RUSTIX_URING_DEBIAN to the address of one")


class Apt:
    """The packages of some suites for one architecture. The last suite is preferred."""

    def __init__(self, deb, *suites):
        self.deb, self.suites = deb, suites
        self.root = cache("apt", "%s_%s" % (deb, "+".join(suites)))

    def _call(self, program, *args, **options):
        root = self.root
        settings = {
            "APT::Architecture": self.deb,
            "APT::Architectures::": self.deb,
            "APT::Default-Release": self.suites[-1],
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Dir::State": root / "state",
            "Dir::State::status": root / "status",
            "Dir::Cache": root / "cache",
            "Dir::Cache::srcpkgcache": "",
            "Dir::Etc::sourcelist": "/nonexistent",
            "Dir::Etc::sourceparts": root / "sources.list.d",
            "Dir::Etc::preferences": "/nonexistent",
            "Dir::Etc::preferencesparts": "/nonexistent",
            "Acquire::Languages": "none",
            "Acquire::GzipIndexes": "true",
            # Archived suites are no longer updated, but still useful.
            "Acquire::Check-Valid-Until": "false",
            "Acquire::Retries": "3",
            # We lock the whole root ourselves.
            "Debug::NoLocking": "true",
        }
        flags = [f for name, value in settings.items() for f in ("-o", "%s=%s" % (name, value))]
        # apt reads this file after the system's configuration. It clears the lists set there.
        env = dict(os.environ, APT_CONFIG=str(root / "apt.conf"), LC_ALL="C")
        with Lock("apt-" + root.name):
            return run([program, *flags, *args], env=env, **options)

    def update(self, again=False):
        """Downloads the package lists, unless that was done before."""
        stamp = self.root / "updated"
        with Lock("update-" + self.root.name):
            if stamp.exists() and not again:
                return
            for sub in ("state/lists/partial", "cache/archives/partial", "sources.list.d"):
                (self.root / sub).mkdir(parents=True, exist_ok=True)
            uri, keyring = archive()
            (self.root / "sources.list.d" / "debian.sources").write_text(
                "Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n"
                % (uri, " ".join(self.suites), keyring)
            )
            (self.root / "status").touch()
            (self.root / "apt.conf").write_text("#clear APT::Architectures;\n#clear APT::Update;\n")
            say("downloading the package lists of %s for %s" % (" and ".join(self.suites), self.deb))
            self._call("apt-get", "update", "-q", "--error-on=any")
            stamp.touch()

    def names(self, pattern):
        names = {name.split(":")[0] for name in self._call("apt-cache", "pkgnames").split()}
        return sorted(name for name in names if re.search(pattern, name))

    def show(self, name):
        """The single-line fields of a package."""
        text = self._call("apt-cache", "show", "--no-all-versions", name)
        return dict(re.findall(r"^([A-Za-z-]+): (.*)$", text, re.M))

    def closure(self, *names):
        """The packages that apt would install on an empty system for these."""
        text = self._call("apt-get", "-s", "-q", "install", *names)
        return sorted(set(re.findall(r"^Inst (\S+)", text, re.M)))

    def unpack(self, names, into, what):
        """Downloads packages and unpacks them into a folder."""
        names = sorted(set(names))
        about = self._call("apt-cache", "show", "--no-all-versions", *names)
        size = sum(int(size) for size in re.findall(r"^Size: (\d+)$", about, re.M))
        say("downloading %s: %.0f MB" % (what, size / 1e6))
        debs = into.parent / (into.name + ".debs")
        debs.mkdir(parents=True, exist_ok=True)
        try:
            self._call("apt-get", "-q", "download", *names, cwd=debs)
            # About 40 MB, which apt recreates on demand.
            (self.root / "cache" / "pkgcache.bin").unlink(missing_ok=True)
            into.mkdir(parents=True, exist_ok=True)
            for deb in sorted(debs.glob("*.deb")):
                run(["dpkg-deb", "-x", deb, into])
        finally:
            shutil.rmtree(debs, ignore_errors=True)


def program(name, *package_sets):
    """The path of a system program. If it is missing, installs the first package set that works."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    with Lock("system"):
        found = shutil.which(name, path=path)
        if found:
            return found
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        env = dict(os.environ, LC_ALL="C", DEBIAN_FRONTEND="noninteractive")
        problem = None
        for update in (False, True):
            try:
                if update:
                    run([*sudo, "apt-get", "-q", "update"], env=env)
            except (Failure, OSError) as e:
                problem = e
            for packages in package_sets:
                say("installing " + packages)
                try:
                    run([*sudo, "apt-get", "-qy", "install", "--no-install-recommends",
                         *packages.split()], env=env)
                except (Failure, OSError) as e:
                    problem = e
                found = shutil.which(name, path=path)
                if found:
                    return found
    raise Failure("%s is missing; please install %s\n%s" % (name, package_sets[0], problem))
