"""Types of other dialects, and the PostgreSQL type that takes the same values."""

# name -> (PostgreSQL's name, whether it keeps its size)
TYPES = (
    {
        "bigserial": ("bigint", False),  # no sequence: it costs time, and no answer needs one
        "bit_varying": ("varbit", True),
        "citext": ("text", False),  # compares otherwise, and takes the same functions and operators
        "character": ("char", True),
        "counter": ("integer", False),
        "currency": ("numeric", False),
        "dec": ("numeric", True),
        "decimal": ("numeric", True),
        "fixed": ("numeric", True),
        "number": ("numeric", True),
        "numeric": ("numeric", True),
        "bool": ("boolean", False),
        "boolean": ("boolean", False),
        "enum": ("text", False),
        "set": ("text", False),
        "rowversion": ("bytea", False),
        "serial": ("integer", False),
        "serial4": ("integer", False),
        "serial8": ("bigint", False),
        "smallserial": ("smallint", False),
        "uniqueidentifier": ("uuid", False),
        "year": ("integer", False),
        "byteint": ("smallint", False),
        "jsonb": ("jsonb", False),
        "timestamp_ntz": ("timestamp", False),
        "timestamp_ltz": ("timestamptz", False),
        "timestamp_tz": ("timestamptz", False),
        "datetimeoffset": ("timestamptz", False),
    }
    | dict.fromkeys(("tinyint", "int1", "uint8", "utinyint", "usmallint", "int16"), ("smallint", False))
    | dict.fromkeys(("integer", "int", "mediumint", "int3", "int32", "uint16", "uint"), ("integer", False))
    | dict.fromkeys(("int64", "hugeint", "ubigint", "uint32", "long", "bigint"), ("bigint", False))
    | dict.fromkeys(("double", "float64", "binary_double", "binary_float", "float32", "real_number"), ("float8", False))
    | dict.fromkeys(("datetime", "datetime2", "smalldatetime"), ("timestamp", False))
    | dict.fromkeys(("varchar2", "nvarchar", "nvarchar2"), ("varchar", True))
    | dict.fromkeys(("nchar",), ("bpchar", True))
    | dict.fromkeys(("string", "tinytext", "mediumtext", "longtext", "ntext", "clob", "nclob", "longvarchar", "sysname", "str"), ("text", False))
    | dict.fromkeys(("blob", "tinyblob", "mediumblob", "longblob", "binary", "varbinary", "image", "raw", "bytes"), ("bytea", False))
)
