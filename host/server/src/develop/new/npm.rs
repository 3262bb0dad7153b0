//! The package of the SDK for JavaScript without what is for its development, and the lock file of a project with it.

use serde_json::{Map, Value, json};

/// What is only for the development of the SDK.
const FOR_DEVELOPMENT: [&str; 2] = ["devDependencies", "scripts"];

/// What the SDK is checked with, which is no tool of a project.
const NO_TOOL: &str = "node_modules/typescript";

/// Leaves out of the text of the SDK's package.json what is for its development.
pub(super) fn package(text: &str) -> String {
    let mut kept = String::new();
    let mut is_left_out = false;
    for line in text.lines() {
        is_left_out |= FOR_DEVELOPMENT.iter().any(|key| line == format!("  \"{key}\": {{"));
        if !is_left_out {
            kept.push_str(line);
            kept.push('\n');
        }
        is_left_out &= line != "  },";
    }
    kept
}

/// Makes the lock file of a new project of that of the SDK, so that both are built with the same tools.
///
/// `project` and `sdk` are the texts of their package.json.
pub(super) fn lock(lock_of_sdk: &str, project: &str, sdk: &str) -> Result<String, serde_json::Error> {
    let mut lock: Map<String, Value> = serde_json::from_str(lock_of_sdk)?;
    // What npm repeats of a package.json.
    let repeated = |text: &str, keys: &[&str]| -> Result<Value, serde_json::Error> {
        let mut all: Map<String, Value> = serde_json::from_str(text)?;
        all.retain(|key, _| keys.contains(&key.as_str()));
        Ok(Value::Object(all))
    };
    let of_project = repeated(project, &["dependencies", "devDependencies", "engines"])?;
    let keys = [
        "name",
        "version",
        "license",
        "bin",
        "engines",
        "peerDependencies",
        "peerDependenciesMeta",
    ];
    let of_sdk = repeated(sdk, &keys)?;
    for key in ["name", "version"] {
        lock.remove(key);
    }
    if let Some(Value::Object(packages)) = lock.get_mut("packages") {
        packages.remove(NO_TOOL);
        packages.insert(String::new(), of_project);
        packages.insert(
            "node_modules/namelock".to_owned(),
            json!({ "resolved": "sdk", "link": true }),
        );
        packages.insert("sdk".to_owned(), of_sdk);
    }
    let mut text = serde_json::to_string_pretty(&lock)?;
    text.push('\n');
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::super::sources::{JS, JS_LOCK, JS_SDK_PACKAGE};
    use super::*;

    fn project() -> &'static str {
        JS.iter().find(|source| source.path == "package.json").unwrap().text
    }

    #[test]
    fn the_package_of_the_sdk_is_without_what_is_for_its_development() {
        let text = package(JS_SDK_PACKAGE);
        let mut all: Map<String, Value> = serde_json::from_str(JS_SDK_PACKAGE).unwrap();
        for key in FOR_DEVELOPMENT {
            assert!(all.remove(key).is_some(), "{key}");
        }
        assert_eq!(serde_json::from_str::<Map<String, Value>>(&text).unwrap(), all);
    }

    #[test]
    fn a_new_project_has_the_tools_of_the_sdk() {
        let json = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let mut tools = json(JS_SDK_PACKAGE)["devDependencies"].clone();
        tools.as_object_mut().unwrap().remove("typescript").unwrap();
        assert_eq!(json(project())["devDependencies"], tools);
        let lock = json(&lock(JS_LOCK, project(), &package(JS_SDK_PACKAGE)).unwrap());
        let (ours, theirs) = (
            json(JS_LOCK)["packages"].clone(),
            lock["packages"].as_object().unwrap().clone(),
        );
        assert_eq!(
            theirs.len(),
            ours.as_object().unwrap().len() + 1,
            "one tool less, the link and the SDK"
        );
        assert_eq!(theirs[""]["devDependencies"], tools);
        for (path, package) in theirs.iter().filter(|(path, _)| path.starts_with("node_modules/@")) {
            assert_eq!(&ours[path], package);
        }
    }
}
