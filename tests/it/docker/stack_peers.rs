//! Peers of `compose/` that no service of Stoker works with yet: they do what they are there for.

use super::stack_user::Stack;

pub(super) fn work(stack: &Stack) {
    zookeeper_keeps_its_nodes_without_its_container(stack);
    opensearch_restores_what_it_saved(stack);
}

/// What its volumes hold is all there is: the container goes, with the volumes that only it knows.
fn zookeeper_keeps_its_nodes_without_its_container(stack: &Stack) {
    let create = ["zkCli.sh", "create", "/stoker", "written-before"];
    stack.exec("zookeeper", &create).unwrap();
    stack.compose(&["rm", "-fsv", "zookeeper"]).unwrap();
    stack.compose(&["up", "zookeeper"]).unwrap();
    let told = stack.exec("zookeeper", &["zkCli.sh", "get", "/stoker"]);
    let told = told.unwrap();
    assert!(told.contains("written-before"), "{told}");
}

fn opensearch_restores_what_it_saved(stack: &Stack) {
    let container = stack.containers(Some("opensearch")).unwrap().remove(0);
    let ask = |method: &str, path: &str, body: &str| {
        let url = format!("http://127.0.0.1:9200/{path}");
        let json = "content-type: application/json";
        let request = ["-X", method, "-H", json, "-d", body, &url];
        let curl = ["exec", &container, "curl", "-fsS"];
        let words = [curl.as_slice(), request.as_slice()].concat();
        stack.engine.docker(words)
    };
    let document = "people/_doc/1";
    ask("PUT", document, r#"{"name":"written-before"}"#).unwrap();
    let repository = r#"{"type":"fs","settings":{"location":"kept"}}"#;
    ask("PUT", "_snapshot/kept", repository).unwrap();
    let snapshot = "_snapshot/kept/first?wait_for_completion=true";
    let saved = ask("PUT", snapshot, "").unwrap();
    assert!(saved.contains("\"state\":\"SUCCESS\""), "{saved}");
    ask("DELETE", "people", "").unwrap();
    let gone = ask("GET", document, "").unwrap_err().to_string();
    assert!(gone.contains("404"), "{gone}");
    let restore = "_snapshot/kept/first/_restore?wait_for_completion=true";
    ask("POST", restore, "").unwrap();
    let told = ask("GET", document, "").unwrap();
    assert!(told.contains("written-before"), "{told}");
}
