//! Reads a manifest: which layer is the component.
//!
//! The form is that which `wkg` and the other tools of the Bytecode Alliance push ("CNCF TAG Runtime: Wasm OCI artifact layout"):
//! a configuration that says that it is WebAssembly, and the component as the only layer.

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::digest::{Digest, InvalidDigest};

/// What a manifest is.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// What the configuration of a component is.
const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";

/// What a component is.
const WASM: &str = "application/wasm";

/// What else a registry may have by a digest. It is asked for too, so that it can be said what is there; otherwise a registry
/// answers that there is nothing.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json";

/// Longest manifest, in bytes. One of a component has a few hundred.
pub(crate) const MANIFEST_MAX: usize = 64 << 10;

/// Longest media type that is shown, in bytes.
const SHOWN_MAX: usize = 100;

/// The layer that is the component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) digest: Digest,
    pub(crate) bytes: u64,
}

/// Why a manifest is not that of a component.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It is no JSON, or has no such form.
    #[error("what is there is no manifest: {0}")]
    NotAManifest(String),
    /// It lists manifests, such as one for each kind of machine.
    #[error("what is there is an index of several manifests; pin the digest of the one that is the component")]
    Index,
    /// It is that of a container.
    #[error("what is there is a container image; push the component with `wkg oci push`")]
    Image,
    /// It is something else.
    #[error(
        "the configuration of what is there is `{0}`, and that of a component is `{WASM_CONFIG}`; push it with `wkg oci push`"
    )]
    Config(String),
    /// There are several layers, or none.
    #[error("what is there has {0} layers, and a component is one")]
    Layers(usize),
    /// The layer is something else.
    #[error("the layer of what is there is `{0}`, and that of a component is `{WASM}`")]
    Layer(String),
    /// Its layer has a digest that is not used here.
    #[error("the layer has a digest of another kind: {0}")]
    Digest(#[from] InvalidDigest),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u64,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

/// Finds the component in a manifest, whose bytes have been compared with its digest.
pub(crate) fn component(manifest: &[u8]) -> Result<Layer, Unfit> {
    let manifest: Manifest =
        serde_json::from_slice(manifest).map_err(|error| Unfit::NotAManifest(shown(&error.to_string())))?;
    let media_type = manifest.media_type.as_deref().unwrap_or(MANIFEST);
    if manifest.manifests.is_some() || media_type.contains("image.index") || media_type.contains("manifest.list") {
        return Err(Unfit::Index);
    }
    let is_image = |kind: &str| kind.starts_with("application/vnd.docker.") || kind.contains(".image.config.");
    let (Some(config), Some(layers)) = (manifest.config, manifest.layers) else {
        return Err(Unfit::NotAManifest("it has no config, or no layers".to_owned()));
    };
    if is_image(media_type) || is_image(&config.media_type) {
        return Err(Unfit::Image);
    }
    if media_type != MANIFEST || manifest.schema_version != 2 {
        let what = format!(
            "its media type is {} and its version {}",
            shown(media_type),
            manifest.schema_version
        );
        return Err(Unfit::NotAManifest(what));
    }
    if config.media_type != WASM_CONFIG {
        return Err(Unfit::Config(shown(&config.media_type)));
    }
    let [layer] = layers.as_slice() else {
        return Err(Unfit::Layers(layers.len()));
    };
    if layer.media_type != WASM {
        return Err(Unfit::Layer(shown(&layer.media_type)));
    }
    Ok(Layer {
        digest: layer.digest.parse()?,
        bytes: layer.size,
    })
}

/// What comes from a registry, for a message.
fn shown(text: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().take(SHOWN_MAX).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(media_type: &str, config: &str, layers: &[&str]) -> String {
        let digest = Digest::of(b"");
        let layers: Vec<_> = layers
            .iter()
            .map(|kind| format!(r#"{{"mediaType":"{kind}","digest":"{digest}","size":7,"urls":["http://10.0.0.1/"]}}"#))
            .collect();
        format!(
            r#"{{"schemaVersion":2,{media_type}"config":{{"mediaType":"{config}","digest":"{digest}","size":2}},"layers":[{}]}}"#,
            layers.join(",")
        )
    }

    fn found(text: &str) -> Result<Layer, Unfit> {
        component(text.as_bytes())
    }

    #[test]
    fn the_one_layer_is_the_component() {
        let kind = format!(r#""mediaType":"{MANIFEST}","#);
        for kind in [kind.as_str(), ""] {
            let layer = found(&manifest(kind, WASM_CONFIG, &[WASM])).unwrap();
            assert_eq!((layer.digest, layer.bytes), (Digest::of(b""), 7));
        }
    }

    #[test]
    fn what_else_is_there_is_said() {
        let docker = r#""mediaType":"application/vnd.docker.distribution.manifest.v2+json","#;
        let image = "application/vnd.oci.image.config.v1+json";
        let other = "application/vnd.oci.empty.v1+json";
        for (text, expect) in [
            (manifest(docker, image, &[WASM]), Unfit::Image),
            (
                manifest("", image, &["application/vnd.oci.image.layer.v1.tar+gzip"]),
                Unfit::Image,
            ),
            (r#"{"schemaVersion":2,"manifests":[]}"#.to_owned(), Unfit::Index),
            (manifest("", other, &[WASM]), Unfit::Config(other.to_owned())),
            (manifest("", WASM_CONFIG, &[]), Unfit::Layers(0)),
            (manifest("", WASM_CONFIG, &[WASM, WASM]), Unfit::Layers(2)),
            (
                manifest("", WASM_CONFIG, &["text/\\u001b[31m"]),
                Unfit::Layer("text/?[31m".to_owned()),
            ),
            (
                manifest("", WASM_CONFIG, &[WASM]).replace("sha256:", "sha512:"),
                Unfit::Digest(InvalidDigest),
            ),
        ] {
            assert_eq!(found(&text), Err(expect), "{text}");
        }
        for wrong in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"schemaVersion":2}"#,
            r#"{"schemaVersion":1,"config":null}"#,
        ] {
            assert!(matches!(found(wrong), Err(Unfit::NotAManifest(_))), "{wrong}");
        }
        let negative = manifest("", WASM_CONFIG, &[WASM]).replace(":7", ":-7");
        assert!(matches!(found(&negative), Err(Unfit::NotAManifest(_))));
        let deep = format!(r#"{{"schemaVersion":2,"manifests":{}"#, "[".repeat(60_000));
        assert!(matches!(found(&deep), Err(Unfit::NotAManifest(_))));
    }
}
