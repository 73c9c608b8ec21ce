//! Bundle of an OS image: RAUC's container, whose last part is a signature of its
//! manifest. A build signs with a key that it throws away; devices trust the OS key alone.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_common::{hex, time};
use edge_signature::{BUNDLE_TAIL_BYTES, BundleEnd, BundleSignature, Keys, signed_manifest};
use openssl::sha::sha256;

use crate::project::signing::Signer;

/// Advice for a file that is no bundle.
const ADVICE: &str = "build the bundle with `format=verity`, see docs/os-update.md";

/// Bundle in a file.
pub(crate) struct OsBundle {
    path: PathBuf,
    /// Size of the part before the signature.
    content_bytes: u64,
    signature: Vec<u8>,
    manifest: Vec<u8>,
}

impl OsBundle {
    /// Reads the manifest of a bundle. Its signature may be by anybody.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let context = || format!("reading {}", path.display());
        let no_bundle = || format!("{} is no bundle of RAUC: {ADVICE}", path.display());
        let mut file = File::open(path).with_context(context)?;
        let size = file.seek(SeekFrom::End(0)).with_context(context)?;
        let tail = size.saturating_sub(BUNDLE_TAIL_BYTES as u64);
        file.seek(SeekFrom::Start(tail)).with_context(context)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).with_context(context)?;
        let BundleEnd {
            content_bytes,
            signature,
        } = BundleEnd::parse(size, &bytes).with_context(no_bundle)?;
        let manifest = signed_manifest(&signature, None).with_context(no_bundle)?;
        let bundle = Self {
            path: path.into(),
            content_bytes,
            signature,
            manifest,
        };
        match bundle.value("bundle", "format") {
            Some("verity") => Ok(bundle),
            format => bail!(
                "{} has the format {}, which devices do not read: {ADVICE}",
                path.display(),
                format.unwrap_or("plain")
            ),
        }
    }

    /// Returns the SHA-256 of the manifest, which RAUC requires on the device.
    pub(crate) fn manifest_hash(&self) -> String {
        hex::encode(sha256(&self.manifest))
    }

    /// Returns a value of the manifest, a key file of GLib.
    pub(crate) fn value(&self, section: &str, key: &str) -> Option<&str> {
        let text = str::from_utf8(&self.manifest).ok()?;
        let head = format!("[{section}]");
        // The last line before the next section ends the search: sections repeat keys.
        let lines = text.lines().map(str::trim).skip_while(|l| *l != head);
        let lines = lines.skip(1).take_while(|l| !l.starts_with('['));
        let values = lines.filter_map(|l| l.split_once('='));
        let mut values = values.filter(|(k, _)| k.trim() == key);
        values.next().map(|(_, value)| value.trim())
    }

    /// Signs the bundle with the OS key, unless it is signed so: the file is replaced. A
    /// signature of ECDSA differs each time, and with it the digest of the bundle, by
    /// which a repeated push knows what the registry has.
    pub(crate) async fn sign(&self, signer: &Signer, keys: &Keys) -> Result<()> {
        if signed_manifest(&self.signature, Some(keys)).is_ok() {
            return Ok(());
        }
        let signature = BundleSignature::new(&self.manifest, keys, &time::now())?;
        let made = signer.sign(&signature.to_sign()).await?;
        let signature = signature.finish(&made);
        // Before the file changes: a service could have signed with another key.
        signed_manifest(&signature, Some(keys))?;
        self.replace(&signature)
            .with_context(|| format!("signing {}", self.path.display()))
    }

    fn replace(&self, signature: &[u8]) -> Result<()> {
        // The parent of a bare file name is the empty path.
        let path = Path::new(".").join(&self.path);
        let directory = path.parent().context("it has no directory")?;
        let mut new = tempfile::NamedTempFile::new_in(directory)?;
        let mut content = File::open(&path)?.take(self.content_bytes);
        let copied = std::io::copy(&mut content, new.as_file_mut())?;
        if copied != self.content_bytes {
            bail!("it was shortened meanwhile");
        }
        new.write_all(signature)?;
        new.write_all(&u64::try_from(signature.len())?.to_be_bytes())?;
        // A temporary file is private, and others may read the bundle.
        fs::set_permissions(new.path(), fs::metadata(&path)?.permissions())?;
        new.as_file().sync_all()?;
        new.persist(&path)?;
        Ok(())
    }
}
