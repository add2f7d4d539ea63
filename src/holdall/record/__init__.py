"""Fields, the record class under ``Model``, metadata, change tracking and keys. Knows no database and no query."""
