//! Peers of `compose/` that no service of Stoker works with yet: they do what they are there for.

use super::stack_user::Stack;

pub(super) fn work(stack: &Stack) {
    zookeeper_keeps_its_nodes_without_its_container(stack);
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
