"""Statements around every forbidden name, in every position.

``python -m tests.services.judge_fuzz`` runs the judge over an engine of its own (chDB changes its
process's time zone, so this is a process), and prints what it let through: nothing, or the test
fails. The same statements around an allowed name must pass, or a position would be tested that
nobody can write.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from services.store.allowed import ALLOWED
from services.store.engine import Engine, Session
from services.store.errors import StoreError
from services.store.judge import Judge
from services.store.statements import insert_with_data

# Where an expression may stand; %E is a call.
EXPRESSIONS = [
    "%E",
    "arrayMap(x -> %E, [1])",
    "arrayMap((x, y) -> (%E, x), [1], [2])",
    "mapApply((k, v) -> (k, %E), map('a', 1))",
    "arraySort(x -> arrayMap(y -> %E, [x]), [1])",
    "(SELECT %E)",
    "exists(SELECT %E)",
    "(1 IN (SELECT %E))",
    "(SELECT 1 UNION ALL SELECT %E)",
    "if(1, %E, 2)",
    "(1 ? %E : 2)",
    "multiIf(1, %E, 2)",
    "CASE WHEN %E = 1 THEN 1 ELSE 2 END",
    "CASE %E WHEN 1 THEN 2 ELSE 3 END",
    "tuple(%E)",
    "(%E, 1)",
    "[%E]",
    "[1, %E][1]",
    "map('a', %E)",
    "CAST(%E AS String)",
    "%E::String",
    "(%E || 'a')",
    "(NOT %E)",
    "(-%E)",
    "(%E BETWEEN 1 AND 2)",
    "(%E LIKE 'a')",
    "(%E IS NULL)",
    "INTERVAL %E DAY",
    "extract(day FROM %E)",
    "substring(%E FROM 1 FOR 2)",
    "trim(BOTH 'a' FROM %E)",
    "date_add(day, %E, now())",
    "sumIf(1, %E)",
    "count() FILTER (WHERE %E)",
    "quantile(0.5)(%E)",
    "sum(1) OVER (PARTITION BY %E ORDER BY %E)",
    "row_number() OVER (ORDER BY 1 ROWS BETWEEN %E PRECEDING AND CURRENT ROW)",
    "arrayReduce('sum', [%E])",
    "untuple((%E, 1))",
]
STATEMENTS = [
    "SELECT %E",
    "SELECT DISTINCT %E",
    "SELECT DISTINCT ON (%E) 1 FROM numbers(1)",
    "SELECT TOP 1 %E",
    "FROM numbers(1) SELECT %E",
    "(SELECT %E)",
    "SELECT 1 FROM numbers(1) WHERE %E",
    "SELECT 1 FROM numbers(1) PREWHERE %E",
    "SELECT 1 FROM numbers(1) GROUP BY %E",
    "SELECT 1 FROM numbers(1) GROUP BY ROLLUP(%E)",
    "SELECT 1 FROM numbers(1) GROUP BY GROUPING SETS ((%E), ())",
    "SELECT 1 FROM numbers(1) GROUP BY 1 HAVING %E",
    "SELECT 1 FROM numbers(1) QUALIFY %E",
    "SELECT 1 FROM numbers(1) WINDOW w AS (PARTITION BY %E)",
    "SELECT number FROM numbers(1) ORDER BY %E",
    "SELECT number FROM numbers(1) ORDER BY number WITH FILL FROM %E TO 2 STEP 1",
    "SELECT number, 1 AS a FROM numbers(1) ORDER BY number WITH FILL INTERPOLATE (a AS %E)",
    "SELECT 1 FROM numbers(1) LIMIT 1 BY %E",
    "SELECT 1 LIMIT %E",
    "SELECT 1 LIMIT 1 OFFSET %E",
    "WITH %E AS a SELECT a",
    "WITH (SELECT %E) AS a SELECT a",
    "WITH a AS (SELECT %E) SELECT * FROM a",
    "WITH RECURSIVE a AS (SELECT %E AS n UNION ALL SELECT n FROM a) SELECT * FROM a",
    "SELECT * FROM (SELECT %E)",
    "SELECT * FROM view(SELECT %E)",
    "SELECT * FROM numbers(%E)",
    "SELECT * FROM numbers(1) AS l JOIN numbers(1) AS r ON l.number = %E",
    "SELECT * FROM numbers(1) AS l LEFT JOIN (SELECT %E AS number) AS r USING (number)",
    "SELECT x FROM numbers(1) ARRAY JOIN [%E] AS x",
    "SELECT 1 INTERSECT SELECT %E",
    "SELECT 1 EXCEPT SELECT %E",
    "SELECT * APPLY(x -> %E) FROM numbers(1)",
    "SELECT numbers.* APPLY(x -> %E) FROM numbers(1)",
    "SELECT COLUMNS('a') APPLY(x -> %E) FROM numbers(1)",
    "SELECT * REPLACE (%E AS number) FROM numbers(1)",
    "SELECT * EXCEPT (a) REPLACE (%E AS number) APPLY(toString) FROM numbers(1)",
    "EXPLAIN SELECT %E",
    "EXPLAIN AST SELECT %E",
    "EXPLAIN SYNTAX SELECT %E",
    "EXPLAIN QUERY TREE SELECT %E",
    "EXPLAIN PLAN header = 1, actions = 1 SELECT %E",
    "EXPLAIN PIPELINE SELECT %E",
    "DESCRIBE (SELECT %E)",
    "DESCRIBE TABLE (SELECT %E)",
    "SELECT %E FORMAT JSON",
    "SELECT %E SETTINGS max_threads = 1",
    "SELECT %E;",
]
# Where a function may stand by its name alone.
NAMES = [
    "SELECT arrayMap(%R, [1])",
    "SELECT arrayMap((%R), [1])",
    "SELECT arrayMap(((%R)), [1])",
    "SELECT arrayFilter(%R, [1])",
    "SELECT arrayMap(x -> arrayMap(%R, [x]), [1])",
    "SELECT arraySort(%R, [1]), arrayFirst(%R, [1])",
    "SELECT mapApply(%R, map('a', 1))",
    "SELECT arrayMap((x -> x), [1]), arrayMap(%R, [1])",
    "SELECT * APPLY %R FROM numbers(1)",
    "SELECT * APPLY(%R) FROM numbers(1)",
    "SELECT * APPLY(%R) APPLY(toString) FROM numbers(1)",
    "SELECT COLUMNS('n') APPLY %R FROM numbers(1)",
    "WITH %R AS g SELECT arrayMap(g, [1])",
    "WITH 1 AS a, %R AS g SELECT arrayMap(g, [1])",
    "SELECT %R AS g, arrayMap(g, [1])",
    "SELECT arrayMap(%R AS g, [1])",
    "SELECT arrayFold(%R, [1], 0)",
    "SELECT (SELECT arrayMap(%R, [1]))",
    "EXPLAIN SELECT arrayMap(%R, [1])",
    "DESCRIBE (SELECT arrayMap(%R, [1]))",
]
# Kinds that are refused whatever is in them, and table functions.
REFUSED = [
    "SHOW TABLES WHERE %E",
    "SHOW TABLES FROM system WHERE 1 IN (SELECT %E)",
    "SHOW DATABASES WHERE %E",
    "SHOW COLUMNS FROM one FROM system WHERE %E",
    "SHOW INDEXES FROM one FROM system WHERE %E",
    "SELECT * FROM (EXPLAIN SELECT %E)",
    "EXISTS (SELECT %E)",
    "INSERT INTO t SELECT %E",
    "WITH x -> %E AS g SELECT g(1)",
    "SELECT 1; SELECT %E",
    "CREATE VIEW v AS SELECT %E",
]
TABLES = [
    "SELECT * FROM %E",
    "SELECT * FROM %E AS t",
    "SELECT * FROM numbers(1) JOIN %E AS t ON 1 = 1",
    "SELECT * FROM numbers(1), %E",
    "SELECT * FROM (SELECT * FROM %E)",
    "SELECT * FROM view(SELECT * FROM %E)",
    "SELECT 1 IN (SELECT * FROM %E)",
    "WITH a AS (SELECT * FROM %E) SELECT * FROM a",
    "DESCRIBE TABLE %E",
    "EXPLAIN SELECT * FROM %E",
    "SELECT 1 UNION ALL SELECT * FROM %E",
]
WRITERS = [
    "INSERT INTO t SELECT %E",
    "INSERT INTO t VALUES (%E)",
    "INSERT INTO t (a) VALUES (1), (%E)",
    "INSERT INTO t WITH %E AS a SELECT a",
    "CREATE VIEW v AS SELECT %E",
    "CREATE OR REPLACE VIEW v AS SELECT arrayMap(x -> %E, [1])",
    "CREATE MATERIALIZED VIEW v TO t AS SELECT %E",
    "CREATE TABLE t (a String DEFAULT %E) ENGINE = MergeTree ORDER BY a",
    "CREATE TABLE t (a String, b String MATERIALIZED %E) ENGINE = MergeTree ORDER BY a",
    "CREATE TABLE t (a String, CONSTRAINT c CHECK %E) ENGINE = MergeTree ORDER BY a",
    "CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY %E",
    "CREATE TABLE t (a String) ENGINE = MergeTree PARTITION BY %E ORDER BY a",
    "CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a TTL %E",
    "CREATE TABLE t ENGINE = MergeTree ORDER BY a AS SELECT %E AS a",
    "ALTER TABLE t UPDATE a = %E WHERE 1",
    "ALTER TABLE t DELETE WHERE %E",
    "ALTER TABLE t ADD COLUMN b String DEFAULT %E",
    "ALTER TABLE t ADD CONSTRAINT c CHECK %E",
    "DELETE FROM t WHERE %E",
    "SELECT %E",
]
ARGUMENTS = ["'/etc/passwd'", "'/etc/passwd', 'LineAsString'", "", "1", "'a', 'b', 'c', 'd', 'e'"]
BLANKS = [" ", "  ", "\n", "\t", " /* x */ ", " /* /* ' */ \" */ ", " -- '\n", " #! `\n", "\f"]


class Fuzz:
    """Makes statements by one seed."""

    def __init__(self, seed: int) -> None:
        self._dice = random.Random(seed)

    def statement(self, template: str, name: str, plain: bool = False) -> str:
        """A statement that calls ``name`` where the template has it."""
        expression = "%E"
        for _ in range(self._dice.choice([0, 0, 1, 1, 2, 3]) if "%E" in template else 0):
            if template not in TABLES:
                expression = expression.replace("%E", self._dice.choice(EXPRESSIONS))
        text = template.replace("%E", expression)
        while "%E" in text:
            arguments = "1" if plain else self._dice.choice(ARGUMENTS)
            blank = "" if plain else self._dice.choice(["", "", " ", "/**/", "\n"])
            text = text.replace("%E", f"{self._spelt(name, plain)}{blank}({arguments})", 1)
        while "%R" in text:
            text = text.replace("%R", self._spelt(name, plain), 1)
        if plain or self._dice.random() < 0.5:
            return text
        return "".join(
            self._dice.choice(BLANKS) if letter == " " and self._dice.random() < 0.2 else letter
            for letter in text
        )

    def _spelt(self, name: str, plain: bool) -> str:
        way = (
            "plain"
            if plain
            else self._dice.choice(["plain", "plain", "tick", "quote", "hex", "upper", "curly"])
        )
        if way == "tick":
            return f"`{name}`"
        if way == "quote":
            return f'"{name}"'
        if way == "curly":
            return f"\u201c{name}\u201d"
        if way == "hex":
            at = self._dice.randrange(len(name))
            return f"`{name[:at]}\\x{ord(name[at]):02x}{name[at + 1 :]}`"
        return name.upper() if way == "upper" else name


def main() -> int:
    """Judge; the exit code says whether any passed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--rounds", type=int, default=1, help="of all forbidden names")
    parser.add_argument("--statements", type=int, default=20, help="of each name, a round")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        engine = Engine(Path(folder, "store"))
        with engine.session() as session:
            found = _judge(session, options.seed, options.rounds, options.statements)
        engine.close(10)
    print(json.dumps({"seed": options.seed, **found}, indent=1))
    return 1 if found["passed"] or found["unwritable"] or found["unknown"] else 0


def _judge(session: Session, seed: int, rounds: int, each: int) -> dict[str, object]:
    judge, fuzz = Judge(session), Fuzz(seed)
    dice = random.Random(seed)

    def refusal(statement: str, writer: bool) -> int:
        raw = statement.encode()
        try:
            if writer:
                judge.writer(session, raw, insert_with_data(raw))
            else:
                judge.reader(session, raw, {})
        except StoreError as error:
            return error.code
        return 0

    # 1. Each position can be written: around an allowed name it passes.
    allowed = {
        "toString": [*STATEMENTS, *(t for t in NAMES if "arrayFold" not in t)],
        "numbers": TABLES,
    }
    unwritable = [
        text
        for name, templates in allowed.items()
        for template in templates
        for text in [template.replace("%E", f"{name}(1)").replace("%R", name)]
        if refusal(text, writer=False)
    ]
    unwritable += [
        text
        for expression in EXPRESSIONS
        for text in ["SELECT " + expression.replace("%E", "toString(1)")]
        if refusal(text, writer=False)
    ]
    unwritable += [
        text
        for template in WRITERS
        for text in [template.replace("%E", "toString(1)")]
        if refusal(text, writer=True)
    ]
    # 2. Around a forbidden name nothing passes.
    readers = [*STATEMENTS, *STATEMENTS, *NAMES, *REFUSED, *TABLES]
    codes: Counter[int] = Counter()
    passed = []
    for _ in range(rounds):
        for name in sorted(judge.forbidden):
            for _ in range(each):
                writer = dice.random() < 0.2
                template = dice.choice(WRITERS if writer else readers)
                statement = fuzz.statement(template, name)
                code = refusal(statement, writer)
                codes[code] += 1
                if not code:
                    passed.append(statement)
    return {
        "judged": codes.total(),
        "codes": dict(codes),
        "passed": passed[:20],
        "unwritable": unwritable,
        "unknown": sorted(ALLOWED.callable - {"grouping", "untuple"} - judge.known),
    }


if __name__ == "__main__":
    sys.exit(main())
