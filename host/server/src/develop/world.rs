//! Compares what a component imports and exports with the contract, type by type, without compiling it.
//!
//! A host learns from wasmtime that a component does not fit. Its author has to learn in what, so both are read as WIT here, and
//! the first difference of each function is named. What is found equal here is not taken for fitting: the sandbox decides.

use wit_parser::decoding::{DecodedWasm, decode};
use wit_parser::{Function, Handle, InterfaceId, Resolve, SourceMap, Type, TypeDefKind, TypeId, WorldItem, WorldKey};

/// The contract, as `wit/` has it.
const CONTRACT: [(&str, &str); 5] = [
    ("world.wit", include_str!("../../../../wit/world.wit")),
    ("handler.wit", include_str!("../../../../wit/handler.wit")),
    ("locks.wit", include_str!("../../../../wit/locks.wit")),
    ("names.wit", include_str!("../../../../wit/names.wit")),
    ("updates.wit", include_str!("../../../../wit/updates.wit")),
];
const SETTINGS: (&str, &str) = ("store.wit", include_str!("../../../../wit/deps/wasi-config/store.wit"));

/// What a component imports and exports.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    /// The names of what it imports.
    pub imports: Vec<String>,
    /// The names of what it exports.
    pub exports: Vec<String>,
    /// In what it differs from the contract; each is a clause that follows the word "it".
    pub differences: Vec<String>,
}

/// Reads what a component imports and exports, and compares it with the contract.
///
/// # Errors
///
/// Why it cannot be read as a component.
pub fn interfaces(wasm: &[u8]) -> Result<Interfaces, String> {
    let (component, world) = match decode(wasm) {
        Ok(DecodedWasm::Component(component, world)) => (component, world),
        Ok(DecodedWasm::WitPackage(..)) => return Err("it is a package of WIT, and no component".to_owned()),
        Err(error) => return Err(format!("{error:#}")),
    };
    let contract = contract()?;
    let mut found = Interfaces::default();
    let world = &component.worlds[world];
    for (key, item) in &world.imports {
        let name = component.name_world_key(key);
        if let Some((has, wants)) = pair(&component, key, item, &contract) {
            let compare = Compare(&component, &contract);
            let of = |difference| format!("imports {name} in another form: {difference}");
            found.differences.extend(compare.functions(has, wants).map(of));
        }
        found.imports.push(name);
    }
    for (key, item) in &world.exports {
        let name = component.name_world_key(key);
        if let Some((has, wants)) = pair(&component, key, item, &contract) {
            let compare = Compare(&component, &contract);
            let of = |difference| format!("exports {name} in another form: {difference}");
            found.differences.extend(compare.missing(has, wants).map(of));
            found.differences.extend(compare.functions(has, wants).map(of));
        }
        found.exports.push(name);
    }
    Ok(found)
}

/// The contract as it is compiled into this program.
fn contract() -> Result<Resolve, String> {
    let mut contract = Resolve::default();
    let failed = |error: &dyn std::fmt::Display| format!("the contract cannot be read: {error:#}");
    contract
        .push_source(SETTINGS.0, SETTINGS.1)
        .map_err(|error| failed(&error))?;
    let mut sources = SourceMap::default();
    for (file, text) in CONTRACT {
        sources.push_str(file, text);
    }
    let group = sources.parse().map_err(|(_, error)| failed(&error))?;
    contract.push_group(group).map_err(|error| failed(&error))?;
    Ok(contract)
}

/// An interface of the component, and the one of the contract with its name in any version of 0.1; none: the contract does not
/// have it, so there is nothing to compare.
fn pair(
    component: &Resolve,
    key: &WorldKey,
    item: &WorldItem,
    contract: &Resolve,
) -> Option<(InterfaceId, InterfaceId)> {
    let WorldItem::Interface { id, .. } = item else {
        return None;
    };
    let line = |name: &str| -> Option<String> {
        let (interface, version) = name.split_once('@')?;
        let mut numbers = version.splitn(3, '.');
        Some(format!("{interface}@{}.{}", numbers.next()?, numbers.next()?))
    };
    let wanted = line(&component.name_world_key(key))?;
    let is_it = |id: &InterfaceId| contract.id_of(*id).and_then(|name| line(&name)) == Some(wanted.clone());
    let wants = contract.interfaces.iter().map(|(id, _)| id).find(is_it)?;
    Some((*id, wants))
}

/// What differs, and where: each step inwards stands before it.
type Difference = String;

/// A component, and the contract.
struct Compare<'a>(&'a Resolve, &'a Resolve);

impl<'a> Compare<'a> {
    /// The functions that an exported interface lacks.
    fn missing(&self, has: InterfaceId, wants: InterfaceId) -> impl Iterator<Item = Difference> + use<'a> {
        let (has, wants) = (&self.0.interfaces[has], &self.1.interfaces[wants]);
        let missing = wants.functions.keys().filter(|name| !has.functions.contains_key(*name));
        missing.map(|name| format!("without the function `{name}`"))
    }

    /// What differs in the functions that a component has.
    fn functions(&self, has: InterfaceId, wants: InterfaceId) -> impl Iterator<Item = Difference> {
        let (has, wants) = (&self.0.interfaces[has], &self.1.interfaces[wants]);
        has.functions.iter().filter_map(|(name, has)| {
            let Some(wants) = wants.functions.get(name) else {
                return Some(format!("with the function `{name}`, which the contract does not have"));
            };
            let difference = self.function(has, wants)?;
            Some(format!("its function `{name}`, {difference}"))
        })
    }

    fn function(&self, has: &Function, wants: &Function) -> Option<Difference> {
        if has.params.len() != wants.params.len() {
            let (has, wants) = (has.params.len(), wants.params.len());
            return Some(format!("with {has} parameters, where the contract has {wants}"));
        }
        for (has, wants) in has.params.iter().zip(&wants.params) {
            if has.name != wants.name {
                let (has, wants) = (&has.name, &wants.name);
                return Some(format!("with the parameter `{has}`, where the contract has `{wants}`"));
            }
            if let Some(difference) = self.types(&has.ty, &wants.ty) {
                return Some(format!("parameter `{}`{difference}", has.name));
            }
        }
        let difference = self.optional(has.result.as_ref(), wants.result.as_ref())?;
        Some(format!("result{difference}"))
    }

    fn optional(&self, has: Option<&Type>, wants: Option<&Type>) -> Option<Difference> {
        match (has, wants) {
            (None, None) => None,
            (Some(has), Some(wants)) => self.types(has, wants),
            (has, wants) => {
                let text = |resolve: &Resolve, ty: Option<&Type>| ty.map_or("none".to_owned(), |ty| text(resolve, ty));
                Some(other(&text(self.0, has), &text(self.1, wants)))
            }
        }
    }

    /// The first difference of two types; each step inwards begins with a comma, the difference itself with a colon.
    fn types(&self, has: &Type, wants: &Type) -> Option<Difference> {
        let (has, wants) = (aliased(self.0, has), aliased(self.1, wants));
        let (Type::Id(has_id), Type::Id(wants_id)) = (has, wants) else {
            return (has != wants).then(|| other(&text(self.0, &has), &text(self.1, &wants)));
        };
        match (&self.0.types[has_id].kind, &self.1.types[wants_id].kind) {
            (TypeDefKind::Record(has), TypeDefKind::Record(wants)) => {
                let has = has.fields.iter().map(|field| (field.name.as_str(), Some(&field.ty)));
                let wants = wants.fields.iter().map(|field| (field.name.as_str(), Some(&field.ty)));
                self.members("field", has, wants)
            }
            (TypeDefKind::Variant(has), TypeDefKind::Variant(wants)) => {
                let has = has.cases.iter().map(|case| (case.name.as_str(), case.ty.as_ref()));
                let wants = wants.cases.iter().map(|case| (case.name.as_str(), case.ty.as_ref()));
                self.members("case", has, wants)
            }
            (TypeDefKind::Enum(has), TypeDefKind::Enum(wants)) => {
                let has = has.cases.iter().map(|case| (case.name.as_str(), None));
                let wants = wants.cases.iter().map(|case| (case.name.as_str(), None));
                self.members("case", has, wants)
            }
            (TypeDefKind::Tuple(has), TypeDefKind::Tuple(wants)) if has.types.len() == wants.types.len() => {
                let mut pairs = has.types.iter().zip(&wants.types);
                pairs.find_map(|(has, wants)| self.types(has, wants))
            }
            (TypeDefKind::Option(has), TypeDefKind::Option(wants))
            | (TypeDefKind::List(has), TypeDefKind::List(wants)) => self.types(has, wants),
            (TypeDefKind::Result(has), TypeDefKind::Result(wants)) => {
                self.optional(has.ok.as_ref(), wants.ok.as_ref()).or_else(|| {
                    Some(format!(
                        ", error{}",
                        self.optional(has.err.as_ref(), wants.err.as_ref())?
                    ))
                })
            }
            (TypeDefKind::Resource, TypeDefKind::Resource) | (TypeDefKind::Handle(_), TypeDefKind::Handle(_)) => {
                let (has, wants) = (text(self.0, &has), text(self.1, &wants));
                (has != wants).then(|| other(&has, &wants))
            }
            _ => Some(other(&text(self.0, &has), &text(self.1, &wants))),
        }
    }

    /// The first difference of the fields or cases of two types, which have an order.
    fn members<'t>(
        &self,
        what: &str,
        has: impl Iterator<Item = (&'t str, Option<&'t Type>)>,
        wants: impl Iterator<Item = (&'t str, Option<&'t Type>)>,
    ) -> Option<Difference> {
        let (has, wants): (Vec<_>, Vec<_>) = (has.collect(), wants.collect());
        for place in 0..has.len().max(wants.len()) {
            match (has.get(place), wants.get(place)) {
                (Some((has, has_type)), Some((wants, wants_type))) if has == wants => {
                    if let Some(difference) = self.optional(*has_type, *wants_type) {
                        return Some(format!(", {what} `{has}`{difference}"));
                    }
                }
                (has, wants) => {
                    let name =
                        |member: Option<&(&str, _)>| member.map_or("none".to_owned(), |(name, _)| format!("`{name}`"));
                    return Some(format!(", {what} {}{}", place + 1, other(&name(has), &name(wants))));
                }
            }
        }
        None
    }
}

fn other(has: &str, wants: &str) -> Difference {
    format!(": {has}, where the contract has {wants}")
}

/// What a type stands for that is another one's name.
fn aliased(resolve: &Resolve, ty: &Type) -> Type {
    let mut ty = *ty;
    while let Type::Id(id) = ty
        && let TypeDefKind::Type(inner) = resolve.types[id].kind
    {
        ty = inner;
    }
    ty
}

/// A type as WIT writes it.
fn text(resolve: &Resolve, ty: &Type) -> String {
    let of = |ty: &Type| text(resolve, ty);
    let resource = |id: TypeId| text(resolve, &Type::Id(id));
    match aliased(resolve, ty) {
        Type::Id(id) => match (&resolve.types[id].name, &resolve.types[id].kind) {
            (Some(name), _) => name.clone(),
            (None, TypeDefKind::Option(inner)) => format!("option<{}>", of(inner)),
            (None, TypeDefKind::List(inner)) => format!("list<{}>", of(inner)),
            (None, TypeDefKind::Tuple(tuple)) => {
                let types: Vec<_> = tuple.types.iter().map(of).collect();
                format!("tuple<{}>", types.join(", "))
            }
            (None, TypeDefKind::Result(result)) => {
                let of = |ty: Option<&Type>| ty.map_or("_".to_owned(), of);
                format!("result<{}, {}>", of(result.ok.as_ref()), of(result.err.as_ref()))
            }
            (None, TypeDefKind::Handle(Handle::Own(id))) => resource(*id),
            (None, TypeDefKind::Handle(Handle::Borrow(id))) => format!("borrow<{}>", resource(*id)),
            (None, kind) => kind.as_str().to_owned(),
        },
        primitive => format!("{primitive:?}").to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use namelock_test_artifacts::{ROOMS, guests};

    use super::*;

    fn differences(component: &str) -> Vec<String> {
        interfaces(&std::fs::read(component).unwrap()).unwrap().differences
    }

    #[test]
    fn what_fits_does_not_differ() {
        for component in [ROOMS, guests::PLAIN] {
            assert_eq!(differences(component), Vec::<String>::new(), "{component}");
        }
        let old = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/compat/rooms-0.1.0.wasm");
        assert_eq!(differences(old), Vec::<String>::new());
    }

    #[test]
    fn what_is_imported_and_exported_is_listed() {
        let found = interfaces(&std::fs::read(ROOMS).unwrap()).unwrap();
        assert!(
            found
                .imports
                .iter()
                .any(|name| name == "namelock:registration/locks@0.1.1"),
            "{found:?}"
        );
        assert_eq!(
            found.exports,
            [
                "namelock:registration/handler@0.1.1",
                "namelock:registration/updates@0.1.1"
            ]
        );
    }

    /// The differences of the world of this WIT from the contract, by the interface that each exports.
    fn compared(interface: &str) -> Vec<String> {
        let mut has = Resolve::default();
        has.push_source("has.wit", &format!("package namelock:registration@0.1.0;\n{interface}"))
            .unwrap();
        let wants = contract().unwrap();
        let id = |resolve: &Resolve| {
            resolve
                .interfaces
                .iter()
                .find(|(_, one)| one.name.as_deref() == Some("handler"))
                .unwrap()
                .0
        };
        let (id_of_has, id_of_wants) = (id(&has), id(&wants));
        let compare = Compare(&has, &wants);
        let missing = compare.missing(id_of_has, id_of_wants);
        missing.chain(compare.functions(id_of_has, id_of_wants)).collect()
    }

    #[test]
    fn the_first_difference_of_each_function_is_named() {
        let found = compared("interface handler { free: func(name: string, owner: u8) -> result<_, string>; }");
        assert_eq!(
            found,
            [
                "without the function `register`",
                "its function `free`, parameter `owner`: u8, where the contract has string",
            ]
        );
        let found = compared(
            "interface handler {
                record request { name: string, owner: string, lifetime-ms: option<u32>, attributes: list<tuple<string, string>> }
                register: func(request: request) -> result<string, string>;
                variant rejection { invalid(string), taken, busy(u64), forbidden(string) }
                free: func(name: string, owner: string) -> result<_, rejection>;
                look: func();
            }",
        );
        assert_eq!(
            found,
            [
                "its function `register`, parameter `request`, field `lifetime-ms`: u32, where the contract has u64",
                "its function `free`, result, error, case 5: none, where the contract has `unavailable`",
                "with the function `look`, which the contract does not have",
            ]
        );
    }
}
