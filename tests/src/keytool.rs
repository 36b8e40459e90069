//! Java's tool for key stores.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

/// Makes a trust store (`PKCS12` or `JKS`) of the first certificate in a PEM file.
pub fn trust_store(
    authority: &Path,
    kind: &str,
    password: &str,
    store: &Path,
) -> anyhow::Result<()> {
    let made = Command::new("keytool")
        .args(["-importcert", "-noprompt", "-alias", "authority"])
        .args(["-storetype", kind, "-storepass", password, "-file"])
        .arg(authority)
        .arg("-keystore")
        .arg(store)
        .output()
        .context("cannot run keytool")?;
    if !made.status.success() {
        bail!("keytool: {}", String::from_utf8_lossy(&made.stdout));
    }
    Ok(())
}
