"""The databases that the sample questions are asked of: tables, their English names and the values in them."""

from dataclasses import dataclass

AMOUNTS = (10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 150, 200, 250, 300, 400, 500, 600, 750, 800, 900)
YEARS = (2018, 2019, 2020, 2021, 2022, 2023, 2024, 2025)
CITIES = ("Berlin", "Paris", "Madrid", "Rome", "Vienna", "Lisbon", "Oslo", "Dublin", "Prague", "Warsaw", "Athens", "Zurich")


@dataclass(frozen=True)
class Column:
    """A column: its SQL name and type, what English calls it, and the values that questions mention."""

    name: str
    type: str
    noun: str = ""
    values: tuple[str, ...] = ()
    where: tuple[str, ...] = ()  # how English filters on a value, for example "from {}"


@dataclass(frozen=True)
class Table:
    """A table with an `id`, a column that names a row (`label`), and at least one text, number and date column."""

    name: str
    singular: str
    label: Column
    columns: tuple[Column, ...]
    parent: str = ""  # the table that `<parent_key>` refers to
    parent_key: str = ""

    @property
    def plural(self) -> str:
        return self.name.replace("_", " ")

    def of_type(self, *types: str) -> tuple[Column, ...]:
        return tuple(c for c in self.columns if c.type in types)

    @property
    def ddl(self) -> str:
        parts = ["id int PRIMARY KEY", f"{self.label.name} {self.label.type}"]
        parts += [f"{c.name} {c.type}" for c in self.columns]
        if self.parent:
            parts.append(f"{self.parent_key} int REFERENCES {self.parent}")
        return f"CREATE TABLE {self.name} ({', '.join(parts)});"


@dataclass(frozen=True)
class Schema:
    """Two tables, the second referring to the first."""

    name: str
    parent: Table
    child: Table

    @property
    def tables(self) -> tuple[Table, Table]:
        return (self.parent, self.child)

    @property
    def ddl(self) -> str:
        return "\n".join(t.ddl for t in self.tables)


def _text(name: str, noun: str, values: tuple[str, ...], *where: str) -> Column:
    return Column(name, "text", noun, values, where)


def _number(name: str, noun: str) -> Column:
    return Column(name, "int", noun)


def _date(name: str, noun: str) -> Column:
    return Column(name, "date", noun)


_NAME = Column("name", "text", "name")
_TITLE = Column("title", "text", "title")

SCHEMAS: tuple[Schema, ...] = (
    Schema(
        "shop",
        Table(
            "customers",
            "customer",
            _NAME,
            (
                _text("city", "city", CITIES, "from {}", "who live in {}"),
                _number("points", "points"),
                _date("joined", "joining date"),
            ),
        ),
        Table(
            "orders",
            "order",
            Column("code", "text", "code"),
            (
                _text("status", "status", ("open", "paid", "shipped", "returned", "cancelled"), "with status {}", "that are {}"),
                _number("total", "total"),
                _date("placed", "order date"),
            ),
            "customers",
            "customer_id",
        ),
    ),
    Schema(
        "school",
        Table(
            "teachers",
            "teacher",
            _NAME,
            (
                _text("subject", "subject", ("maths", "history", "physics", "music", "biology", "art"), "of {}", "who teach {}"),
                _number("salary", "salary"),
                _date("hired", "hiring date"),
            ),
        ),
        Table(
            "courses",
            "course",
            _TITLE,
            (
                _text("level", "level", ("beginner", "middle", "advanced", "expert"), "at level {}", "for {} students"),
                _number("seats", "seats"),
                _date("starts", "start date"),
            ),
            "teachers",
            "teacher_id",
        ),
    ),
    Schema(
        "library",
        Table(
            "authors",
            "author",
            _NAME,
            (
                _text("country", "country", ("France", "Spain", "Italy", "Japan", "Brazil", "Kenya", "India"), "from {}", "born in {}"),
                _number("awards", "awards"),
                _date("born", "birth date"),
            ),
        ),
        Table(
            "books",
            "book",
            _TITLE,
            (
                _text("genre", "genre", ("crime", "poetry", "travel", "fantasy", "science", "cooking"), "of genre {}", "about {}"),
                _number("pages", "pages"),
                _date("published", "publication date"),
            ),
            "authors",
            "author_id",
        ),
    ),
    Schema(
        "clinic",
        Table(
            "doctors",
            "doctor",
            _NAME,
            (
                _text("field", "field", ("surgery", "cardiology", "radiology", "neurology", "dentistry"), "in {}", "who work in {}"),
                _number("fee", "fee"),
                _date("started", "starting date"),
            ),
        ),
        Table(
            "visits",
            "visit",
            Column("patient", "text", "patient"),
            (
                _text("reason", "reason", ("checkup", "fever", "injury", "allergy", "vaccine"), "for {}", "with reason {}"),
                _number("minutes", "minutes"),
                _date("day", "visit date"),
            ),
            "doctors",
            "doctor_id",
        ),
    ),
    Schema(
        "airline",
        Table(
            "airports",
            "airport",
            _NAME,
            (
                _text("region", "region", ("north", "south", "east", "west", "coast"), "in the {}", "of region {}"),
                _number("gates", "gates"),
                _date("opened", "opening date"),
            ),
        ),
        Table(
            "flights",
            "flight",
            Column("code", "text", "code"),
            (
                _text("destination", "destination", CITIES, "to {}", "that go to {}"),
                _number("price", "price"),
                _date("departs", "departure date"),
            ),
            "airports",
            "airport_id",
        ),
    ),
    Schema(
        "company",
        Table(
            "departments",
            "department",
            _NAME,
            (
                _text("floor", "floor", ("first", "second", "third", "fourth", "ground"), "on the {} floor", "of floor {}"),
                _number("budget", "budget"),
                _date("founded", "founding date"),
            ),
        ),
        Table(
            "employees",
            "employee",
            _NAME,
            (
                _text("role", "role", ("engineer", "manager", "analyst", "designer", "clerk"), "who work as {}", "with role {}"),
                _number("age", "age"),
                _date("hired", "hiring date"),
            ),
            "departments",
            "department_id",
        ),
    ),
)
