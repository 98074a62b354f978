"""Names that other dialects or extensions have, and PostgreSQL by itself has not."""

import re

# of MySQL, SQLite, SQL Server, Oracle, BigQuery, Snowflake and DuckDB
_FUNCTIONS = """
    year month day hour minute second quarter week dayofmonth dayofweek dayofyear weekday weekofyear yearweek monthname dayname last_day datediff
    timestampdiff timestampadd date_add date_sub adddate subdate addtime subtime dateadd datepart datename eomonth date_format str_to_date
    time_format from_unixtime unix_timestamp curdate curtime sysdate getdate getutcdate sysdatetime utc_timestamp makedate maketime to_days from_days
    sec_to_time time_to_sec period_diff convert_tz datefromparts isdate strftime julianday datetime unixepoch timestamp_diff
    timestamp_sub timestamp_add timestamp_trunc datetime_diff datetime_sub datetime_trunc date_diff datetrunc parse_date format_date add_months
    months_between ifnull isnull nvl nvl2 iif if decode zeroifnull group_concat listagg wm_concat instr charindex patindex locate find_in_set field
    elt substring_index mid space ucase lcase len datalength stuff replicate isnumeric convert try_convert try_cast str unhex hex
    inet_aton uuid newid rand checksum truncate json_extract json_value json_query json_unquote json_contains
    json_search json_each regexp_extract regexp_contains safe_divide safe_cast div0 countif approx_count_distinct array_contains
    array_size parse_json to_varchar to_variant object_construct flatten total glob printf typeof last_insert_rowid last_insert_id changes
    row_count found_rows database scope_identity median percentile quantile stdev var lengthb
    sysdatetimeoffset isjson choose string_split epoch strptime list_contains
"""
DIALECT_FUNCTIONS = frozenset(_FUNCTIONS.split())
_TYPES = (
    "unsigned signed datetime datetime2 double tinyint mediumint nvarchar nvarchar2 varchar2 number string int64 float64 longtext mediumtext "
    "clob blob binary varbinary uniqueidentifier smalldatetime datetimeoffset year bytes"
)
DIALECT_TYPES = frozenset(_TYPES.split())
_FUNCTIONS_OF = {
    "pg_trgm": "similarity word_similarity strict_word_similarity show_trgm show_limit set_limit",
    "tablefunc": "crosstab crosstab2 crosstab3 crosstab4 connectby normal_rand",
    "pgcrypto": "crypt gen_salt digest hmac encrypt decrypt encrypt_iv decrypt_iv gen_random_bytes armor dearmor",
    "unaccent": "unaccent",
    "fuzzystrmatch": "levenshtein levenshtein_less_equal soundex difference metaphone dmetaphone dmetaphone_alt daitch_mokotoff",
    "earthdistance": "earth_distance ll_to_earth earth_box latitude longitude earth sec_to_gc gc_to_sec",
    "cube": "cube cube_distance cube_dim",
    "hstore": "hstore akeys avals skeys svals hstore_to_json hstore_to_jsonb exist defined delete slice populate_record",
    "TimescaleDB": "time_bucket time_bucket_gapfill first last locf interpolate histogram create_hypertable approximate_row_count",
    "pgvector": "vector halfvec sparsevec cosine_distance l2_distance inner_product l1_distance vector_dims vector_norm l2_normalize",
    "PostGIS": "geometry geography geometrytype box2d box3d spatial_ref_sys geometry_columns geography_columns addgeometrycolumn find_srid raster",
    "ltree": "ltree lquery nlevel subpath subltree lca text2ltree ltree2text",
    "intarray": "icount sort sort_asc sort_desc uniq idx subarray intset",
    "dblink": "dblink dblink_connect dblink_exec",
    "pg_stat_statements": "pg_stat_statements pg_stat_statements_reset",
    "xml2": "xpath_table xslt_process xpath_string xpath_number xpath_nodeset",
    "citext": "citext",
    "isn": "isbn isbn13 issn ean13 upc ismn",
}
EXTENSION_NAMES = {name: extension for extension, names in _FUNCTIONS_OF.items() for name in names.split()}
EXTENSION_PATTERNS = (
    (re.compile(r"_?st_\w+"), "PostGIS"),
    (re.compile(r"uuid_(?:generate_v\w+|nil|ns_\w+)"), "uuid-ossp"),
    (re.compile(r"pgp_\w+"), "pgcrypto"),
    (re.compile(r"pgr_\w+"), "pgRouting"),
    (re.compile(r"h3_\w+"), "h3"),
    (re.compile(r"hll_\w+"), "hll"),
    (re.compile(r"dblink_\w+"), "dblink"),
)
EXTENSION_OPERATORS = {
    "%": "pg_trgm",
    "<%": "pg_trgm",
    "%>": "pg_trgm",
    "<<%": "pg_trgm",
    "%>>": "pg_trgm",
    "<->": "pgvector, pg_trgm or PostGIS",
    "<=>": "pgvector",
    "<#>": "pgvector",
    "<+>": "pgvector",
    "->": "hstore",
    "?": "hstore",
    "?&": "hstore",
    "?|": "hstore",
    "@>": "hstore, intarray or ltree",
    "<@": "hstore, intarray or ltree",
    "&&": "PostGIS or intarray",
}
