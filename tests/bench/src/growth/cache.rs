//! A cache of compiled components for thousands of tenants, without compiling thousands of times what is the same.
//!
//! The components differ in a custom section alone, which is not compiled. So one is compiled, by the host, and its entry of
//! the cache is written again for each of the others: as the host writes it (`host/sandbox/src/cache.rs`), with the key of
//! this cache. It is checked with the entry of the host that this is still how it is done.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

const MAC_BYTES: usize = 32;

/// How many characters of the name of an entry are the digest of its component.
const DIGEST_CHARACTERS: usize = 64;

/// A cache with the entry of one component.
pub(super) struct Cache {
    folder: PathBuf,
    key: Vec<u8>,
    artifact: Vec<u8>,
    /// What the names of all entries end with.
    suffix: String,
}

impl Cache {
    /// Reads what the host has written when it had this component alone.
    pub(super) fn of_one(folder: &Path, component: &[u8]) -> anyhow::Result<Self> {
        let digest = digest(component);
        let name = fs::read_dir(folder)?
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .find(|name| name.starts_with(&digest))
            .context("the host has kept no compiled component under its digest")?;
        let mut artifact = fs::read(folder.join(&name))?;
        let mac = artifact.split_off(artifact.len().saturating_sub(MAC_BYTES));
        let cache = Self {
            folder: folder.to_owned(),
            key: fs::read(folder.join("key"))?,
            artifact,
            suffix: name[DIGEST_CHARACTERS..].to_owned(),
        };
        ensure!(
            cache.mac(&name)? == mac,
            "the host keeps compiled components in another way than this program knows"
        );
        Ok(cache)
    }

    /// How long a compiled component is, in bytes.
    pub(super) fn artifact_bytes(&self) -> usize {
        self.artifact.len()
    }

    /// Keeps the compiled component for another one that is the same but for its custom sections.
    pub(super) fn keep_for(&self, component: &[u8]) -> anyhow::Result<()> {
        let name = format!("{}{}", digest(component), self.suffix);
        let entry = [&self.artifact[..], &self.mac(&name)?].concat();
        Ok(fs::write(self.folder.join(name), entry)?)
    }

    fn mac(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.key)
            .ok()
            .context("the key of the cache is no key")?;
        let mac = mac.chain_update(name).chain_update(&self.artifact);
        Ok(mac.finalize().into_bytes().to_vec())
    }
}

fn digest(component: &[u8]) -> String {
    Sha256::digest(component)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
