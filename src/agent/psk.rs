//! The pre-shared key: 32 bytes that agent and controller both have.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Bytes in a key.
pub const PSK_BYTES: usize = 32;

/// A pre-shared key. Never shown; as data it is 64 hex digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Psk([u8; PSK_BYTES]);

impl std::fmt::Debug for Psk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Psk(..)")
    }
}

impl From<Psk> for String {
    fn from(psk: Psk) -> Self {
        psk.to_hex()
    }
}

impl TryFrom<String> for Psk {
    type Error = String;

    fn try_from(hex: String) -> Result<Self, String> {
        Self::parse(hex.as_bytes()).ok_or_else(|| format!("a key is 64 hex digits, not these {} bytes", hex.len()))
    }
}

/// What is wrong with a key file.
#[derive(Debug, Error)]
pub enum PskError {
    /// It cannot be read.
    #[error("cannot read the key file {}: {why}; `blackout agent --make-psk {}` makes one", path.display(), path.display())]
    Read {
        /// The file of the pre-shared key.
        path: PathBuf,
        /// What the operating system said.
        why: std::io::Error,
    },
    /// It cannot be made.
    #[error("cannot make the key file {}: {why}", path.display())]
    Write {
        /// The file of the pre-shared key.
        path: PathBuf,
        /// What the operating system said.
        why: std::io::Error,
    },
    /// It holds something else.
    #[error(
        "{} holds {bytes} bytes that are no key: a key is 32 bytes, as 64 hex digits, base64, or as they are; blackout agent --make-psk FILE makes one",
        path.display()
    )]
    NotAKey {
        /// The file of the pre-shared key.
        path: PathBuf,
        /// Its size, bytes.
        bytes: usize,
    },
    /// It holds a key that is easy to guess.
    #[error(
        "the key in {} can be guessed: {why}; expected 32 random bytes: `blackout agent --make-psk FILE` makes them",
        path.display()
    )]
    Weak {
        /// The file of the pre-shared key.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// A key file is not longer, bytes.
const KEY_FILE_BYTES: u64 = 4096;

impl Psk {
    /// A key from its bytes.
    #[must_use]
    pub fn new(bytes: [u8; PSK_BYTES]) -> Self {
        Self(bytes)
    }

    /// A new random key.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The key's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; PSK_BYTES] {
        &self.0
    }

    /// The key as 64 hex digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        to_hex(&self.0)
    }

    /// Reads a key: 64 hex digits or base64 (white space around them is ignored), or 32 bytes as
    /// they are.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok().map(str::trim);
        text.and_then(from_hex)
            .or_else(|| bytes.try_into().ok())
            .or_else(|| text.and_then(from_base64)?.try_into().ok())
            .map(Self)
    }

    /// What makes this key easy to guess, if anything does that is plain to see. Of 32 random bytes
    /// fewer than 16 differ once in 10^20 keys.
    #[must_use]
    pub fn weakness(&self) -> Option<&'static str> {
        let bytes = &self.0;
        if bytes.iter().all(|b| *b == bytes[0]) {
            return Some("all its bytes are the same");
        }
        if (2..=PSK_BYTES / 2).any(|n| (n..PSK_BYTES).all(|i| bytes[i] == bytes[i - n])) {
            return Some("it repeats a short piece");
        }
        let step = bytes[1].wrapping_sub(bytes[0]);
        if bytes.windows(2).all(|w| w[1].wrapping_sub(w[0]) == step) {
            return Some("it counts");
        }
        let different = bytes.iter().collect::<std::collections::BTreeSet<_>>().len();
        (different < 16).then_some("too few of its bytes differ")
    }

    /// Reads a key file. The second value is a warning, when others than its owner can read it.
    ///
    /// # Errors
    /// When the file cannot be read, holds no key, or one that can be guessed.
    pub fn load(path: &Path) -> Result<(Self, Option<String>), PskError> {
        let read = |why| PskError::Read { path: path.to_owned(), why };
        let file = File::open(path).map_err(read)?;
        let mode = file.metadata().map_err(read)?.mode() & 0o777;
        let mut bytes = Vec::new();
        file.take(KEY_FILE_BYTES).read_to_end(&mut bytes).map_err(read)?;
        let psk = Self::parse(&bytes).ok_or(PskError::NotAKey { path: path.to_owned(), bytes: bytes.len() })?;
        if let Some(why) = psk.weakness() {
            return Err(PskError::Weak { path: path.to_owned(), why });
        }
        let warning = (mode & 0o077 != 0)
            .then(|| format!("others can read the key file {0} (mode {mode:03o}): chmod 600 {0}", path.display()));
        Ok((psk, warning))
    }
}

/// Makes a new key file (mode 0600, hex) and returns the key. An existing file is left alone.
///
/// # Errors
/// When the file exists or cannot be written.
pub fn write_psk(path: &Path) -> Result<Psk, PskError> {
    let psk = Psk::random();
    let written = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    written
        .and_then(|mut file| writeln!(file, "{}", psk.to_hex()))
        .map_err(|why| PskError::Write { path: path.to_owned(), why })?;
    Ok(psk)
}

pub(super) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

pub(super) fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let digit = |b: u8| char::from(b).to_digit(16).map(|d| d as u8);
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

/// Base64 (RFC 4648, either alphabet), of exactly 32 bytes: 43 digits and perhaps one `=`.
fn from_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_suffix('=').unwrap_or(text);
    if digits.len() != 43 {
        return None;
    }
    let (mut out, mut bits, mut held) = (Vec::with_capacity(PSK_BYTES), 0u32, 0u32);
    for digit in digits.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_key_is_read_in_three_forms() {
        let key: [u8; 32] = std::array::from_fn(|i| (i * 8) as u8);
        let base64 = "AAgQGCAoMDhASFBYYGhweICIkJigqLC4wMjQ2ODo8Pg=\n";
        for form in [&key[..], format!("{}\n", to_hex(&key)).as_bytes(), base64.as_bytes()] {
            assert_eq!(Psk::parse(form), Some(Psk::new(key)));
        }
        for bad in [&key[..31], b"", &b"x".repeat(64), &b"!".repeat(44), base64.repeat(2).as_bytes()] {
            assert_eq!(Psk::parse(bad), None);
        }
    }

    #[test]
    fn keys_that_can_be_guessed_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("psk");
        for weak in [
            "a".repeat(32),
            "0".repeat(64),
            "ab".repeat(16),
            "passwordpasswordpasswordpassword".into(),
            "0123456789abcdef".repeat(4),
            "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=".into(),
            String::from_utf8((b'A'..b'A' + 32).collect()).unwrap(),
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab".into(),
        ] {
            std::fs::write(&path, &weak).unwrap();
            let why = Psk::load(&path).unwrap_err().to_string();
            assert!(why.contains("can be guessed") && why.contains("--make-psk"), "{weak}: {why}");
        }
        for _ in 0..2000 {
            assert_eq!(Psk::random().weakness(), None);
        }
        let begun = std::time::Instant::now();
        assert!(Psk::load(Path::new("/dev/zero")).is_err());
        assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test]
    fn a_made_key_is_private_and_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("psk");
        let psk = write_psk(&path).unwrap();
        let (read, warning) = Psk::load(&path).unwrap();
        assert_eq!((read == psk, warning), (true, None));
        assert!(write_psk(&path).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Psk::load(&path).unwrap().1.unwrap().contains("chmod 600"));
        std::fs::write(&path, "secret").unwrap();
        assert!(Psk::load(&path).unwrap_err().to_string().contains("6 bytes"));
        assert!(Psk::load(&dir.path().join("none")).unwrap_err().to_string().contains("--make-psk"));
    }
}
