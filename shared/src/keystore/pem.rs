//! PEM (RFC 7468): written, and put into lines.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Characters to a line.
const WIDTH: usize = 64;

/// Whether it is PEM, told from a store of Java's.
pub fn is_one(bytes: &[u8]) -> bool {
    let begin = BEGIN.as_bytes();
    bytes.windows(begin.len()).any(|window| window == begin)
}

/// A block of this kind, such as `CERTIFICATE`.
pub fn encode(kind: &str, der: &[u8]) -> String {
    block(kind, &STANDARD.encode(der))
}

/// The blocks of a text that may have lost its lines, as the value of a property has: each on lines of
/// its own. Headers of a block, which Java does not take either, are not kept.
pub fn in_lines(text: &str) -> String {
    let mut lines = String::new();
    let mut rest = text;
    while let Some((_, begun)) = rest.split_once(BEGIN) {
        let Some((kind, body)) = begun.split_once(DASHES) else {
            break;
        };
        let end = format!("-----END {kind}{DASHES}");
        let Some((body, after)) = body.split_once(end.as_str()) else {
            break;
        };
        let base64: String = body.split_whitespace().collect();
        lines.push_str(&block(kind, &base64));
        rest = after;
    }
    lines
}

const BEGIN: &str = "-----BEGIN ";
const DASHES: &str = "-----";

fn block(kind: &str, base64: &str) -> String {
    let mut block = format!("{BEGIN}{kind}{DASHES}\n");
    let mut rest = base64;
    while !rest.is_empty() {
        // Base64 is ASCII; where it is not, the block is no key, whatever its lines are.
        let (line, after) = rest.split_at_checked(WIDTH).unwrap_or((rest, ""));
        block.extend([line, "\n"]);
        rest = after;
    }
    block.extend(["-----END ", kind, DASHES, "\n"]);
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_put_into_lines() {
        let der: Vec<u8> = (0..=255).collect();
        let (one, other) = (encode("CERTIFICATE", &der), encode("PRIVATE KEY", b"x"));
        assert!(one.lines().all(|line| line.len() <= WIDTH), "{one}");
        let both = format!("{one}{other}");
        assert_eq!(in_lines(&both), both);
        let on_one_line = format!("a key: {}", both.replace('\n', " "));
        assert_eq!(in_lines(&on_one_line), both);
        let without_any = both.replace('\n', "");
        assert_eq!(in_lines(&without_any), both);
    }

    #[test]
    fn what_is_no_block_is_left_out() {
        for text in [
            "",
            "abc",
            "-----BEGIN X",
            "-----BEGIN X-----\nYQ==",
            "-----BEGIN X-----YQ==-----END Y-----",
        ] {
            assert_eq!(in_lines(text), "", "{text}");
        }
        assert!(is_one(b"# mine\n-----BEGIN CERTIFICATE-----"));
        assert!(!is_one(b"\x30\x82----BEGIN"));
    }
}
