//! The checked-in code is what the `.proto` files say, and every field is documented.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that meets an error has failed"
)]

use std::path::{Path, PathBuf};

use prost::Message;

const PROTOS: [&str; 7] = [
    "stoker/common/v1/common.proto",
    "stoker/ledger/v1/work.proto",
    "stoker/ledger/v1/jobs.proto",
    "stoker/events/v1/events.proto",
    "stoker/index/v1/index.proto",
    "stoker/reindex/v1/reindex.proto",
    "stoker/backup/v1/backup.proto",
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn generate(out: &Path) {
    let descriptors = protox::compile(PROTOS, [root()]).expect("the .proto files compile");
    let mut stripped = descriptors.clone();
    for file in &mut stripped.file {
        file.source_code_info = None;
    }
    std::fs::write(out.join("descriptors.bin"), stripped.encode_to_vec()).unwrap();
    tonic_prost_build::configure()
        .out_dir(out)
        .build_transport(false)
        .bytes(".")
        .compile_fds(descriptors)
        .expect("Rust is generated");
}

#[test]
fn generated_code_is_current() {
    let fresh = tempfile::tempdir().unwrap();
    generate(fresh.path());
    let kept = root().join("src/gen");
    let mut names: Vec<_> = std::fs::read_dir(fresh.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .filter(|n| n != "google.protobuf.rs")
        .collect();
    names.sort();
    assert!(names.len() >= 4, "one file for each package: {names:?}");
    for name in names {
        let new = std::fs::read(fresh.path().join(&name)).unwrap();
        let file = kept.join(&name);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&file, &new).unwrap();
        }
        let old = std::fs::read(&file).unwrap_or_default();
        assert!(
            old == new,
            "{} is not what the .proto files say; run `UPDATE=1 cargo test -p stoker-proto`",
            file.display()
        );
    }
}

#[test]
fn every_message_field_and_call_is_documented() {
    let mut bare = Vec::new();
    for proto in PROTOS {
        let text = std::fs::read_to_string(root().join(proto)).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (i, line) in lines.iter().enumerate().skip(1) {
            let declares = ["message ", "service ", "rpc ", "enum ", "oneof "]
                .iter()
                .any(|k| line.starts_with(k))
                || (line.ends_with(';') && line.contains(" = ") && !line.starts_with("syntax"));
            let zero_value = line.ends_with("_UNSPECIFIED = 0;");
            if declares && !zero_value && !lines[i - 1].starts_with("//") {
                bare.push(format!("{proto}:{}: {line}", i + 1));
            }
        }
    }
    assert!(bare.is_empty(), "undocumented:\n{}", bare.join("\n"));
}
