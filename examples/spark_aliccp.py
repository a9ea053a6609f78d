"""Prepares the raw files of Ali-CCP with Spark, as Parquet files and a schema that ``dataset=parquet`` reads.

    spark-submit examples/spark_aliccp.py RAW OUT
    mtlbench train model=mmoe --config-dir OUT dataset=spark_aliccp dataset.raw=OUT

RAW holds the four files of https://tianchi.aliyun.com/dataset/408. The store that mtlbench prepares from OUT has the
rows, splits and vocabularies of ``dataset=aliccp`` on the same files: OUT/dataset/spark_aliccp.yaml asks for them. Ids
are counted there, on training rows alone.

What one user and moment have in common is written once, as a dimension table, and not repeated in each of the 58 rows
that share it on average: nothing is shuffled, and the files stay small. With ``--join`` each row holds everything, for
tools without dimension tables; that is a shuffle of both sides by the key, and the order of rows is lost.

On a cluster: RAW and OUT are addresses that all executors reach (``hdfs://``, ``s3a://``), and nothing else changes.
mtlbench reads the result from a file system; copy it, or mount it.
"""

import argparse
from pathlib import Path

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

OWN = {
    "205": "item_205", "206": "category_206", "207": "shop_207", "216": "brand_216", "301": "scenario_301",
    "508": "category_cross_508", "509": "shop_cross_509", "702": "brand_cross_702",
}  # fmt: skip
"""Fields of an impression with one id, by their code in the files."""

SHARED = {
    "101": "user_101", "121": "profile_121", "122": "profile_group_122", "124": "gender_124", "125": "age_125",
    "126": "consumption_one_126", "127": "consumption_two_127", "128": "occupation_128", "129": "geography_129",
}  # fmt: skip
"""Fields that all impressions of one user at one moment share."""

CROSS = "intention_cross_853"
"""The field of an impression with several ids, each with a weight."""

SCHEMA = """\
# Ali-CCP as examples/spark_aliccp.py has prepared it; read like dataset=aliccp
defaults: [parquet, _self_]
name: spark_aliccp
schema:
  rows: {{train: train/*.parquet, test: test/*.parquet}}
  tables: {{common: {{files: common/*.parquet, key: common, pointer: common}}}}
  fields:
{fields}
  tasks: [{{name: click, label: click}}, {{name: conversion, label: conversion, given: click}}]
  source: source
contradictions: drop
min_count: 12
split_rule: by_key
splits:
  by_key:
    _target_: mtlbench.data.split.by_key
    _partial_: true
    table: common
    fraction: 0.1
    seed: ${{...split_seed}}
"""


def lines(spark: SparkSession, path: str, names: list[str]) -> DataFrame:
    """The lines of a file: the values before its feature list, by name, and ``triples``, the entries of that list."""
    parts = F.split("value", ",", len(names) + 1)
    values = [parts[place].alias(name) for place, name in enumerate(names)]
    return spark.read.text(path).select(*values, F.split(parts[len(names)], "\x01").alias("triples"))


def entries(code: str) -> Column:
    """The entries of one field, each ``code \\x02 id \\x03 value``."""
    return F.filter("triples", lambda triple: triple.startswith(f"{code}\x02"))


def id_of(triple: Column) -> Column:
    return F.split(triple, "[\x02\x03]")[1].cast("int")


def value_of(triple: Column) -> Column:
    return F.split(triple, "\x03")[1].cast("float")


def single_ids(fields: dict[str, str]) -> list[Column]:
    """One id per field; null where a line has none."""
    return [id_of(F.try_element_at(entries(code), F.lit(-1))).alias(name) for code, name in fields.items()]


def key() -> Column:
    """The key as a number, which takes half the room of its 16 hexadecimal digits."""
    return F.conv("common", 16, -10).cast("bigint").alias("common")


def impressions(spark: SparkSession, raw: str, part: str) -> DataFrame:
    """The rows of a part: labels, the key of what they share with others, and their own fields."""
    rows = lines(spark, f"{raw}/sample_skeleton_{part}.csv", ["sample", "click", "conversion", "common", "count"])
    return rows.select(
        F.col("click").cast("tinyint").alias("click"),
        F.col("conversion").cast("tinyint").alias("conversion"),
        key(),
        *single_ids(OWN),
        F.transform(entries("853"), id_of).alias(CROSS),
        F.transform(entries("853"), value_of).alias(f"{CROSS}_weight"),
    ).withColumn("source", F.coalesce("scenario_301", F.lit(0)))


def shared(spark: SparkSession, raw: str, part: str) -> DataFrame:
    """What the impressions of one user at one moment share, by key."""
    table = lines(spark, f"{raw}/common_features_{part}.csv", ["common", "count"])
    return table.select(key(), *single_ids(SHARED))


def schema() -> str:
    """The configuration of the data set that mtlbench reads."""
    own = [f"{{name: {name}}}" for name in OWN.values()]
    common = [f"{{name: {name}, table: common, role: user}}" for name in SHARED.values()]
    cross = f"{{name: {CROSS}, width: 5, weights: {CROSS}_weight, role: cross}}"
    return SCHEMA.format(fields="\n".join(f"    - {entry}" for entry in [*own, cross, *common]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raw")
    parser.add_argument("out")
    parser.add_argument("--join", action="store_true", help="write every row whole, without a dimension table")
    chosen = parser.parse_args()
    spark = SparkSession.builder.appName("Ali-CCP").getOrCreate()
    for part in ("train", "test"):
        rows, common = impressions(spark, chosen.raw, part), shared(spark, chosen.raw, part)
        if chosen.join:
            rows = rows.join(common, "common")
        else:
            common.write.mode("append" if part == "test" else "overwrite").parquet(f"{chosen.out}/common")
        rows.write.mode("overwrite").parquet(f"{chosen.out}/{part}")
    if not chosen.join:
        folder = Path(chosen.out, "dataset")
        folder.mkdir(exist_ok=True)
        (folder / "spark_aliccp.yaml").write_text(schema())
    spark.stop()


if __name__ == "__main__":
    main()
