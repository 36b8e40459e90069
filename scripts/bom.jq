# What `cargo metadata` says, as a CycloneDX bill of materials of the stoker program, and where its licences lie.
# $checksums: [{"NAME@VERSION": SHA-256}], of Cargo.lock.

def purl: "pkg:cargo/\(.name)@\(.version)";

# Linked in: what a crate depends on. Of what it is built with, only the sources of C libraries (openssl-src) end up in the program.
def linked: [.deps[] | select(any(.dep_kinds[]; .kind == null) or (.name | endswith("_src"))) | .pkg];

# Before SPDX expressions cargo had "MIT/Apache-2.0".
def expression: (.license // "NOASSERTION") | gsub(" ?/ ?"; " OR ");

(.packages | map({key: .id, value: .}) | from_entries) as $packages
| (.resolve.nodes | map({key: .id, value: linked}) | from_entries) as $graph
| (.packages[] | select(.name == "stoker") | .id) as $root
| def closure($seen; $next):
    if ($next | length) == 0 then $seen
    else ($seen + ($next | map({key: ., value: true}) | from_entries)) as $now
    | closure($now; [$next[] | $graph[.][] | select($now[.] | not)] | unique)
    end;
  (closure({}; [$root]) | keys | map($packages[.]) | sort_by(.name, .version)) as $all
| ($all | map(select(.id != $root))) as $others
| {
    bom: {
      "$schema": "http://cyclonedx.org/schema/bom-1.5.schema.json",
      bomFormat: "CycloneDX",
      specVersion: "1.5",
      version: 1,
      metadata: {
        component: ($packages[$root] | {
          type: "application", "bom-ref": purl, name, version, purl: purl, licenses: [{expression: expression}]
        })
      },
      components: ($others | map(
        {type: "library", "bom-ref": purl, name, version, purl: purl, licenses: [{expression: expression}]}
        + ($checksums[0]["\(.name)@\(.version)"] as $sum | if $sum then {hashes: [{alg: "SHA-256", content: $sum}]} else {} end)
        + (if .repository then {externalReferences: [{type: "vcs", url: .repository}]} else {} end)
      )),
      dependencies: ($all | map({
        ref: purl,
        dependsOn: ($graph[.id] | map($packages[.] | purl) | unique)
      }))
    },
    # Ours are licensed as the whole is.
    licences: ($others | map(select(.source)) | map({
      name: "\(.name) \(.version)", folder: (.manifest_path | rtrimstr("/Cargo.toml")), expression: expression
    }))
  }
