//! The encodings of a secret.

use data_encoding::{BASE64, HEXLOWER, HEXUPPER};

/// The ways in which a text may hold a secret: as it is, or encoded.
pub(super) fn forms(secret: &str) -> Vec<String> {
    let percent: String = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let mut forms = vec![
        secret.to_owned(),
        percent.to_ascii_lowercase(),
        percent,
        HEXLOWER.encode(secret.as_bytes()),
        HEXUPPER.encode(secret.as_bytes()),
    ];
    // Base64 of a longer text depends on where the secret begins in it. Letters that other bytes change are left out.
    for shift in 0..3 {
        let text = BASE64.encode(&[&b"xx"[..shift], secret.as_bytes()].concat());
        let whole = (shift + secret.len()) / 3 * 4;
        forms.push(text[if shift == 0 { 0 } else { 4 }..whole].to_owned());
    }
    forms
}
