//! Directed graph of names, and its cycles.

use std::collections::VecDeque;

use crate::names::{Id, Names};

/// Graph whose nodes are unit names.
#[derive(Default)]
pub(crate) struct Graph {
    /// Names of the nodes.
    pub(crate) names: Names,
    successors: Vec<Vec<usize>>,
}

impl Graph {
    /// Adds an edge. A unit that waits for itself alone is none, as for systemd.
    pub(crate) fn edge(&mut self, from: Id, to: Id) {
        let [from, to] = [from, to].map(Id::index);
        if from == to {
            return;
        }
        if self.successors.len() <= from {
            self.successors.resize_with(from + 1, Vec::new);
        }
        self.successors[from].push(to);
    }

    fn successors(&self, node: usize) -> &[usize] {
        self.successors.get(node).map_or(&[], Vec::as_slice)
    }

    /// Returns the names of all nodes on a cycle, sorted: those of strongly connected
    /// components with more than one node, by Tarjan's algorithm. It is not recursive,
    /// because a chain of ten thousand units would overflow the stack.
    pub(crate) fn cyclic(&self) -> Vec<&str> {
        let names = self.names.all();
        let mut search = Search::new(names.len());
        for start in 0..names.len() {
            if search.order[start] == 0 {
                search.visit(start, self);
            }
        }
        let mut names: Vec<_> = search.cyclic.iter().map(|node| &*names[*node]).collect();
        names.sort_unstable();
        names
    }

    /// Returns a shortest cycle from a node to itself, with the node at both ends.
    pub(crate) fn circle(&self, name: &str) -> Vec<String> {
        let names = self.names.all();
        let Some(start) = self.names.find(name).map(Id::index) else {
            return Vec::new();
        };
        let mut before = vec![None; names.len()];
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for next in self.successors(node) {
                if before[*next].is_none() {
                    before[*next] = Some(node);
                    queue.push_back(*next);
                }
            }
            if before[start].is_some() {
                break;
            }
        }
        let mut circle = vec![names[start].to_string()];
        let mut node = before[start];
        while let Some(number) = node {
            circle.push(names[number].to_string());
            node = before[number].filter(|_| number != start);
        }
        circle.reverse();
        circle
    }
}

/// State of a search for strongly connected components.
struct Search {
    /// Number of each node in the order of visits, from 1; 0 for one that was not visited.
    order: Vec<usize>,
    /// Lowest number that is reached from a node.
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    visited: usize,
    cyclic: Vec<usize>,
}

impl Search {
    fn new(size: usize) -> Self {
        Self {
            order: vec![0; size],
            low: vec![0; size],
            on_stack: vec![false; size],
            stack: Vec::new(),
            visited: 0,
            cyclic: Vec::new(),
        }
    }

    fn enter(&mut self, node: usize) {
        self.visited += 1;
        self.order[node] = self.visited;
        self.low[node] = self.visited;
        self.on_stack[node] = true;
        self.stack.push(node);
    }

    fn visit(&mut self, start: usize, graph: &Graph) {
        // Nodes under way, each with the number of successors that are done.
        let mut path = vec![(start, 0)];
        self.enter(start);
        while let Some((node, done)) = path.last_mut() {
            let node = *node;
            if let Some(next) = graph.successors(node).get(*done).copied() {
                *done += 1;
                if self.order[next] == 0 {
                    self.enter(next);
                    path.push((next, 0));
                } else if self.on_stack[next] {
                    self.low[node] = self.low[node].min(self.order[next]);
                }
                continue;
            }
            path.pop();
            if let Some((parent, _)) = path.last() {
                self.low[*parent] = self.low[*parent].min(self.low[node]);
            }
            if self.low[node] == self.order[node] {
                self.take_component(node);
            }
        }
    }

    fn take_component(&mut self, root: usize) {
        let first = self.stack.iter().rposition(|node| *node == root);
        let component = self.stack.split_off(first.unwrap_or_default());
        for node in &component {
            self.on_stack[*node] = false;
        }
        if component.len() > 1 {
            self.cyclic.extend(component);
        }
    }
}
