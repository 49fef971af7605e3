//! Passwords, as argon2id keeps them.

use std::io;

use argon2::password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use super::key::random;

/// Memory, in KiB, passes and lanes of new passwords. OWASP's password storage cheat sheet gives these as a minimum, and
/// more memory would only help against who has the file; with it, a check takes some 20 to 50 ms.
const COST: (u32, u32, u32) = (19 * 1024, 2, 1);

/// Most memory that a check may take, in KiB. A line of the file decides it.
const MAX_MEMORY: u32 = 256 * 1024;

/// Most passes of a check.
const MAX_PASSES: u32 = 32;

/// Most lanes of a check. They are worked on one after the other.
const MAX_LANES: u32 = 16;

/// Bytes of a salt, as RFC 9106 recommends.
const SALT_BYTES: usize = 16;

/// Shortest new password, in characters. It is all that is between a stranger and the command of the fleet.
const MIN_PASSWORD: usize = 12;

/// Longest password, in bytes.
pub(super) const MAX_PASSWORD: usize = 1024;

/// Why there is no line for a password.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// It is too short.
    #[error(
        "the password is too short: it needs {MIN_PASSWORD} characters at least, for it opens the whole fleet"
    )]
    Short,
    /// It is too long.
    #[error("the password is too long: {MAX_PASSWORD} bytes is the most")]
    Long,
    /// There are no random bytes.
    #[error("cannot read /dev/urandom: {0}")]
    Random(#[from] io::Error),
    /// It cannot be hashed.
    #[error("the password cannot be hashed: {0}")]
    Hash(String),
}

/// How a new password is kept.
///
/// # Errors
/// [`PasswordError`].
pub(super) fn kept(password: &str) -> Result<String, PasswordError> {
    if password.chars().count() < MIN_PASSWORD {
        return Err(PasswordError::Short);
    }
    if password.len() > MAX_PASSWORD {
        return Err(PasswordError::Long);
    }
    let salt = SaltString::encode_b64(&random::<SALT_BYTES>()?);
    let (memory, passes, lanes) = COST;
    let failed = |err: &dyn std::fmt::Display| PasswordError::Hash(err.to_string());
    let params = Params::new(memory, passes, lanes, None).map_err(|err| failed(&err))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let salt = salt.map_err(|err| failed(&err))?;
    let hash = argon2.hash_password(password.as_bytes(), &salt).map_err(|err| failed(&err))?;
    Ok(hash.to_string())
}

/// Whether a line of the file can be used.
///
/// # Errors
/// Why not.
pub(super) fn check(kept: &str) -> Result<(), &'static str> {
    let no_hash =
        "after the name, the hash of a password is expected: `nixfleet-dashboard password NAME` makes one";
    let hash = PasswordHash::new(kept).map_err(|_| no_hash)?;
    if Algorithm::try_from(hash.algorithm) != Ok(Algorithm::Argon2id)
        || hash.hash.is_none()
        || hash.salt.is_none()
    {
        return Err("the hash must be of argon2id: `nixfleet-dashboard password NAME` makes one");
    }
    let params = Params::try_from(&hash).map_err(|_| no_hash)?;
    if params.m_cost() > MAX_MEMORY || params.t_cost() > MAX_PASSES || params.p_cost() > MAX_LANES {
        return Err(
            "a check of this password would cost too much: 256 MiB, 32 passes and 16 lanes is the most",
        );
    }
    Ok(())
}

/// Whether this is the password. It takes as long as the line of the file says, some 50 ms.
pub(super) fn is_right(kept: &str, password: &[u8]) -> bool {
    PasswordHash::new(kept).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_kept_so_that_only_itself_fits() {
        let kept = kept("a long password").unwrap();
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_eq!(check(&kept), Ok(()));
        assert!(is_right(&kept, b"a long password"));
        assert!(!is_right(&kept, b"another password"));
        assert_ne!(super::kept("a long password").unwrap(), kept, "each has a salt of its own");
        assert!(matches!(super::kept("short"), Err(PasswordError::Short)));
        assert!(matches!(super::kept(&"x".repeat(1025)), Err(PasswordError::Long)));
    }

    #[test]
    fn other_hashes_and_dear_ones_are_refused() {
        let hash = "$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaGhhc2hoYXNo";
        for (kept, why) in [
            ("plain".to_owned(), "hash of a password"),
            (format!("$argon2i$v=19$m=19456,t=2,p=1{hash}"), "argon2id"),
            ("$argon2id$v=19$m=19456,t=2,p=1$c2FsdHNhbHRzYWx0".to_owned(), "argon2id"),
            (format!("$argon2id$v=19$m=4194304,t=2,p=1{hash}"), "cost too much"),
            (format!("$argon2id$v=19$m=19456,t=33,p=1{hash}"), "cost too much"),
        ] {
            let said = check(&kept).expect_err(&kept);
            assert!(said.contains(why), "{kept}: {said}");
        }
        assert_eq!(check(&format!("$argon2id$v=19$m=65536,t=3,p=4{hash}")), Ok(()));
    }
}
