//! Which rules begin with themselves.

use super::Element;

/// A rule that begins with itself, directly or through others, what can be empty left out, and goes on behind that; if
/// there is one. What then follows would have no end. Without anything behind it, as in the repetition of what can be
/// empty, it only leads to where it was.
pub(super) fn left_recursive(rules: &[&[Vec<Element>]]) -> Option<usize> {
    let empty = can_be_empty(rules);
    let edges: Vec<Vec<Edge>> = rules.iter().map(|alternatives| beginnings(alternatives, &empty)).collect();
    let circles = circles(&edges);
    (0..rules.len()).find(|rule| {
        let leads_back = |edge: &Edge| edge.goes_on && circles[edge.to] == circles[*rule];
        edges[*rule].iter().any(leads_back)
    })
}

/// A rule that can come first in another one.
#[derive(Clone, Copy)]
struct Edge {
    to: usize,
    /// Whether anything stands behind it.
    goes_on: bool,
}

/// The rules that can come first in these alternatives.
fn beginnings(alternatives: &[Vec<Element>], empty: &[bool]) -> Vec<Edge> {
    let mut edges = Vec::new();
    for alternative in alternatives {
        for (index, element) in alternative.iter().enumerate() {
            let Element::Rule(rule) = element else { break };
            let to = *rule as usize;
            edges.push(Edge { to, goes_on: index + 1 < alternative.len() });
            if !empty[to] {
                break;
            }
        }
    }
    edges
}

/// For each rule the number of the circle that it is in: those that lead to each other have the same (Tarjan, "Depth-first
/// search and linear graph algorithms", 1972). Without recursion: chains are as long as there are rules.
fn circles(edges: &[Vec<Edge>]) -> Vec<usize> {
    const NOT_YET: usize = usize::MAX;
    let count = edges.len();
    let (mut order, mut lowest, mut circle) = (vec![NOT_YET; count], vec![0; count], vec![NOT_YET; count]);
    let (mut met, mut open) = (0, Vec::new());
    for start in 0..count {
        let mut ways = vec![(start, 0)];
        while let Some((rule, next)) = ways.pop() {
            if next == 0 {
                if order[rule] != NOT_YET {
                    continue;
                }
                (order[rule], lowest[rule]) = (met, met);
                met += 1;
                open.push(rule);
            } else {
                let before = edges[rule][next - 1].to;
                if circle[before] == NOT_YET {
                    lowest[rule] = lowest[rule].min(lowest[before]);
                }
            }
            if let Some(edge) = edges[rule].get(next) {
                ways.push((rule, next + 1));
                ways.push((edge.to, 0));
            } else if lowest[rule] == order[rule] {
                while let Some(last) = open.pop() {
                    circle[last] = rule;
                    if last == rule {
                        break;
                    }
                }
            }
        }
    }
    circle
}

/// Whether each rule can be empty: whether an alternative has nothing but rules that can. Each use of a rule is looked at
/// once.
fn can_be_empty(rules: &[&[Vec<Element>]]) -> Vec<bool> {
    let mut empty = vec![false; rules.len()];
    let mut open: Vec<usize> = Vec::new();
    // The rule of each alternative, and how many of its elements are not known to be possibly empty.
    let mut alternatives: Vec<(usize, usize)> = Vec::new();
    // In which alternatives each rule is used.
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); rules.len()];
    for (rule, alternative) in
        rules.iter().enumerate().flat_map(|(rule, all)| all.iter().map(move |one| (rule, one)))
    {
        for element in alternative {
            if let Element::Rule(used) = element {
                users[*used as usize].push(alternatives.len());
            }
        }
        if alternative.is_empty() {
            open.push(rule);
        }
        alternatives.push((rule, alternative.len()));
    }
    while let Some(rule) = open.pop() {
        if std::mem::replace(&mut empty[rule], true) {
            continue;
        }
        for user in &users[rule] {
            let (rule, left) = &mut alternatives[*user];
            *left -= 1;
            if *left == 0 {
                open.push(*rule);
            }
        }
    }
    empty
}
