//! In which order entries go, and which go together.

/// What is known of the entries to be ordered.
#[derive(Debug)]
pub(super) struct Graph {
    /// Of each entry those that it needs to be there before it.
    pub(super) needs: Vec<Vec<usize>>,
    /// Among entries that may go in any order, the lower goes first; equal ones keep their order.
    pub(super) class: Vec<u8>,
}

/// Entries that need each other, or one that none of the others needs back. What a group needs is in the
/// groups before it.
pub(super) fn groups(graph: &Graph) -> Vec<Vec<usize>> {
    let mut roots: Vec<usize> = (0..graph.needs.len()).collect();
    roots.sort_by_key(|&n| (graph.class[n], n));
    let mut search = Search {
        graph,
        seen: vec![None; graph.needs.len()],
        low: vec![0; graph.needs.len()],
        held: vec![false; graph.needs.len()],
        stack: Vec::new(),
        next: 0,
        groups: Vec::new(),
    };
    for root in roots {
        if search.seen[root].is_none() {
            search.from(root);
        }
    }
    for group in &mut search.groups {
        group.sort_by_key(|&n| (graph.class[n], n));
    }
    search.groups
}

/// Tarjan's strongly connected components, which come out with what they need before them; without
/// recursion, since a chain of references can be as long as the Bundle.
struct Search<'g> {
    graph: &'g Graph,
    seen: Vec<Option<usize>>,
    low: Vec<usize>,
    held: Vec<bool>,
    stack: Vec<usize>,
    next: usize,
    groups: Vec<Vec<usize>>,
}

impl Search<'_> {
    fn from(&mut self, root: usize) {
        let mut path = vec![(root, 0)];
        self.enter(root);
        while let Some((node, edge)) = path.last_mut() {
            let node = *node;
            let Some(&need) = self.graph.needs[node].get(*edge) else {
                path.pop();
                self.leave(node);
                if let Some(&(above, _)) = path.last() {
                    self.low[above] = self.low[above].min(self.low[node]);
                }
                continue;
            };
            *edge += 1;
            match self.seen[need] {
                None => {
                    self.enter(need);
                    path.push((need, 0));
                }
                Some(at) if self.held[need] => self.low[node] = self.low[node].min(at),
                Some(_) => {}
            }
        }
    }

    fn enter(&mut self, node: usize) {
        self.seen[node] = Some(self.next);
        self.low[node] = self.next;
        self.next += 1;
        self.held[node] = true;
        self.stack.push(node);
    }

    fn leave(&mut self, node: usize) {
        if self.seen[node] != Some(self.low[node]) {
            return;
        }
        let at = self.stack.iter().rposition(|&n| n == node);
        let group = self.stack.split_off(at.unwrap_or_default());
        for &member in &group {
            self.held[member] = false;
        }
        self.groups.push(group);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn of(needs: &[&[usize]]) -> Graph {
        Graph {
            needs: needs.iter().map(|n| n.to_vec()).collect(),
            class: vec![0; needs.len()],
        }
    }

    #[test]
    fn what_is_needed_comes_first_and_the_rest_keeps_its_order() {
        assert_eq!(groups(&of(&[&[], &[], &[]])), [[0], [1], [2]]);
        assert_eq!(groups(&of(&[&[2], &[], &[]])), [[2], [0], [1]]);
        let mut graph = of(&[&[], &[], &[]]);
        graph.class = vec![3, 0, 3];
        assert_eq!(groups(&graph), [[1], [0], [2]]);
    }

    #[test]
    fn a_circle_stays_together() {
        let found = groups(&of(&[&[1], &[2, 3], &[0], &[]]));
        assert_eq!(found, [vec![3], vec![0, 1, 2]]);
        assert_eq!(groups(&of(&[&[0]])), [[0]]);
    }

    #[test]
    fn a_chain_as_long_as_a_bundle_is_no_trouble() {
        let needs = (0..200_000).map(|n| if n == 0 { vec![] } else { vec![n - 1] });
        let graph = Graph {
            needs: needs
                .rev()
                .map(|n| n.into_iter().map(|n| 199_999 - n).collect())
                .collect(),
            class: vec![0; 200_000],
        };
        assert_eq!(groups(&graph).len(), 200_000);
    }

    proptest! {
        #[test]
        fn every_entry_once_and_never_before_what_it_needs(
            edges in prop::collection::vec((0usize..20, 0usize..20), 0..40)
        ) {
            let mut needs = vec![Vec::new(); 20];
            for (from, to) in edges {
                needs[from].push(to);
            }
            let graph = Graph { needs, class: vec![0; 20] };
            let mut before = HashSet::new();
            for group in groups(&graph) {
                for &n in &group {
                    prop_assert!(before.insert(n));
                }
                for need in group.iter().flat_map(|&n| &graph.needs[n]) {
                    prop_assert!(before.contains(need));
                }
            }
            prop_assert_eq!(before.len(), 20);
        }
    }
}
