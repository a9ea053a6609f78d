"""A subset of a store's tasks and fields; the store itself is unchanged."""

from dataclasses import dataclass, replace

from mtlbench.schema import Schema, in_order


@dataclass(frozen=True, kw_only=True, slots=True)
class Subset:
    """Names of the selected tasks and fields, in the order of the data set."""

    tasks: tuple[str, ...]
    fields: tuple[str, ...]

    def of(self, schema: Schema) -> Schema:
        """A schema with only these; ids are renumbered, so that no row of the embedding table is unused.

        A task whose parent is excluded has no parent: its label refers to all rows as before (a conversion of an
        impression), and nothing is measured or modelled on the parent's positives.

        Raises:
            ValueError: a history lacks its target.
        """
        return replace(
            schema,
            fields=tuple(in_order(tuple(field for field in schema.fields if field.name in self.fields))),
            tasks=tuple(
                task if task.given in self.tasks else replace(task, given=None)
                for task in schema.tasks
                if task.name in self.tasks
            ),
        )
