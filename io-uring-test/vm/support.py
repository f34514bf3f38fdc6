"""Builds the table of what passes on which kernel from the reports of the live tests."""

import re

from arches import ARCHES
from toolchain import ROOT

TABLE = ROOT / "io-uring-test" / "SUPPORT.md"
README = ROOT / "README.md"
BEGIN, END = "<!-- support: begin -->\n", "<!-- support: end -->\n"
GROUPS = {"opcode": "Operation", "register": "Register operation"}
WORDS = {"passed": "yes", "absent": "–"}


def columns(results):
    """The results that form the columns of the table: those of x86_64."""
    return [r for r in results if r.entry.arch == "x86_64"]


def names(results, group):
    return list(dict.fromkeys(key[1] for r in results for key in r.rows if key[0] == group))


def cell(result, group, name):
    row = result.rows.get((group, name))
    return WORDS.get(row.state, row.state) if row else "untried"


def gaps(results):
    """Operations for which the table has no answer, or that work on no kernel."""
    found = []
    mine = columns(results)
    for group in GROUPS:
        for name in names(mine, group):
            cells = {r.entry.kernel: cell(r, group, name) for r in mine}
            open_ = ["%s on %s" % (said, kernel) for kernel, said in cells.items() if said not in WORDS.values()]
            if "yes" not in cells.values():
                found.append("%s passes on no kernel" % name)
            elif open_:
                found.append("%s: %s" % (name, ", ".join(open_)))
    return found


def table(head, rows):
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def support(results, compiled):
    """The whole text of SUPPORT.md."""
    mine = columns(results)
    series = [r.entry.kernel for r in mine]
    parts = [PREFACE]
    for group, title in GROUPS.items():
        rows = [
            ["`%s`" % name, *(cell(r, group, name) for r in mine)] for name in names(mine, group)
        ]
        parts += ["\n## %ss\n\n" % title, table([title, *series], rows)]
    parts += ["\n## Kinds of ring\n\n"]
    kinds = [name for name in names(mine, "case") if name.startswith("kind::")]
    rows = [["`%s`" % kind.partition("::")[2], *(
        "–" if said == "skipped" else said for said in (cell(r, "case", kind) for r in mine)
    )] for kind in kinds]
    parts += [table(["Submissions x completions", *series], rows)]
    parts += ["\n## Targets\n\nWithout its features, the crate compiles for every Linux target that rustix supports:\n\n"]
    parts += ["- `%s`\n" % triple for triple, crate in compiled.items() if crate is None]
    parts += ["\nFor the following targets, one of its dependencies does not compile:\n\n"]
    parts += ["- `%s`: %s\n" % item for item in compiled.items() if item[1]]
    return "".join(parts)


PREFACE = """# What works on which kernel

`io-uring-test/matrix --write` generates this file from the reports of the live tests.

- *yes*: a test case that needs the operation passes on that kernel.
- *–*: the kernel itself reports that it lacks the operation. For opcodes, the probe reports it. For
  register operations, a restricted ring reports it: it answers EINVAL to an unknown operation, and
  EACCES to a known one. For kinds of ring, the setup fails with EINVAL.
"""


def readme(results):
    """The support tables of README.md."""
    mine = columns(results)
    rows = []
    for group, title in GROUPS.items():
        total = len(names(mine, group))
        rows.append(["%ss, of %d" % (title, total), *(str(r.count(group, "passed")) for r in mine)])
    kinds = [sum(k[1].startswith("kind::") and row.state == "passed" for k, row in r.rows.items()) for r in mine]
    rows.append(["Kinds of ring, of %d" % len([n for n in names(mine, "case") if n.startswith("kind::")]),
                 *map(str, kinds)])
    text = table(["Linux", *(r.entry.kernel for r in mine)], rows)
    others = [r for r in results if r.entry.arch != "x86_64"]
    rows = []
    for r in others:
        kernel = "%s, %s" % (r.entry.kernel, "native" if r.machine == r.entry.arch else r.machine + " kernel")
        if ARCHES[r.entry.arch].rustup:
            kernel = r.entry.kernel
        said = "pass" if r.passed() else "not tested" if r.unavailable else "fail"
        rows.append(["`%s`" % ARCHES[r.entry.arch].triple, kernel, said])
    return text + "\n" + table(["Target", "Linux", "Unit tests and live tests"], rows)


def write(results, compiled):
    TABLE.write_text(support(results, compiled))
    before, begin, rest = README.read_text().partition(BEGIN)
    old, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit("README.md lacks the markers of the support table: %s%s" % (BEGIN, END))
    README.write_text(before + BEGIN + "\n" + readme(results) + "\n" + END + after)


def lost(results):
    """Operations that work according to the table in the repository, but do not work now."""
    if not TABLE.exists():
        return []
    found, series = [], []
    for line in TABLE.read_text().splitlines():
        cells = [c.strip().strip("`") for c in line.strip("|").split("|")]
        if len(cells) < 2:
            continue
        if re.match(r"\d+\.\d+$", cells[1]):
            series = cells[1:]
            continue
        said = dict(zip(series, cells[1:]))
        for r in columns(results):
            for group in (*GROUPS, "case"):
                name = "kind::" + cells[0] if group == "case" else cells[0]
                row = r.rows.get((group, name))
                if said.get(r.entry.kernel) == "yes" and row and row.state != "passed":
                    found.append("%s on %s: %s says yes, but now it is %s: %s" % (
                        cells[0], r.entry, TABLE.name, row.state, row.reason))
    return found
