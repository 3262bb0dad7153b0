"""The bindings of the fake are those that componentize-py makes of the contract."""

import dataclasses
import enum
import importlib
import importlib.util
import inspect
import types
import unittest

from namelock import _fake_bindings as fake


@unittest.skipUnless(importlib.util.find_spec("wit_world"), "needs the bindings of `make python`")
class Bindings(unittest.TestCase):
    def test_each_interface_has_the_same_declarations(self) -> None:
        for module, stand_in in (
            ("wit_world.imports.locks", fake.locks),
            ("wit_world.imports.names", fake.names),
            ("wit_world.imports.store", fake.store),
            ("wit_world.exports.handler", fake.handler),
            ("wit_world.exports.updates", fake.updates),
        ):
            with self.subTest(module=module):
                real = importlib.import_module(module)
                declared = {
                    name: value for name, value in vars(real).items() if getattr(value, "__module__", None) == module
                }
                self.assertEqual(
                    {name: shape(value) for name, value in declared.items()},
                    {name: shape(getattr(stand_in, name, None)) for name in declared},
                )

    def test_the_error_is_frozen_as_well(self) -> None:
        real = importlib.import_module("componentize_py_types").Err
        for error in (real(1), fake.Err(1)):
            with self.assertRaises(dataclasses.FrozenInstanceError):
                error.__traceback__ = None


def shape(declared: object) -> object:
    """Returns what a handler can tell of a declaration: fields, members, parameters, methods."""
    if isinstance(declared, types.FunctionType):
        return list(inspect.signature(declared).parameters)
    if not isinstance(declared, type):
        return type(declared)
    if issubclass(declared, enum.Enum):
        return {member.name: member.value for member in declared}
    if dataclasses.is_dataclass(declared):
        return [field.name for field in dataclasses.fields(declared)]
    return {
        name: shape(value)
        for name, value in vars(declared).items()
        if inspect.isfunction(value) and name not in ("__init__", "__exit__")
    }


if __name__ == "__main__":
    unittest.main()
