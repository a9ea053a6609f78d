"""A subset of a store's tasks and fields: the store stays what it is."""

from dataclasses import dataclass, replace

from mtlbench.schema import Schema, in_order


@dataclass(frozen=True, kw_only=True, slots=True)
class Subset:
    """Names of the tasks and fields that are kept, in the order of the data set."""

    tasks: tuple[str, ...]
    fields: tuple[str, ...]

    def of(self, schema: Schema) -> Schema:
        """A schema with these alone; ids count anew, so that no row of the embedding table is left unused.

        A task whose parent is left out is given none: its label is about all rows as before (a conversion of an
        impression), and nothing is measured or modelled on the parent's positives.

        Raises:
            ValueError: a history without its target.
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
