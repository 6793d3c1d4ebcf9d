//! Constrained choice: the completion must be one of a list of strings.

use std::collections::BTreeMap;

/// A trie over the token ids of the choices.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    nodes: Vec<Node>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    children: BTreeMap<u32, usize>,
    /// The choice that ends here.
    choice: Option<usize>,
}

impl Choices {
    /// Builds the trie of tokenised choices. Of two choices with the same ids the first counts.
    #[must_use]
    pub fn new<'a>(tokenised: impl IntoIterator<Item = &'a [u32]>) -> Self {
        let mut trie = Self { nodes: vec![Node::default()] };
        for (index, ids) in tokenised.into_iter().enumerate() {
            let end = ids.iter().fold(0, |node, &id| trie.child(node, id));
            trie.nodes[end].choice.get_or_insert(index);
        }
        trie
    }

    fn child(&mut self, node: usize, id: u32) -> usize {
        let next = self.nodes.len();
        let found = *self.nodes[node].children.entry(id).or_insert(next);
        if found == next {
            self.nodes.push(Node::default());
        }
        found
    }

    /// The tokens that may follow `so_far`: those that continue a choice, and `end` where one is complete but could
    /// go on. Empty when a choice is complete and none continues it, or when `so_far` is on no path.
    #[must_use]
    pub fn allowed(&self, so_far: &[u32], end: &[u32]) -> Vec<u32> {
        let Some(node) = self.find(so_far) else { return Vec::new() };
        let mut tokens: Vec<u32> = node.children.keys().copied().collect();
        if node.choice.is_some() && !tokens.is_empty() {
            tokens.extend_from_slice(end);
        }
        tokens
    }

    /// The index of the choice that `so_far` spells.
    #[must_use]
    pub fn chosen(&self, so_far: &[u32]) -> Option<usize> {
        self.find(so_far)?.choice
    }

    fn find(&self, so_far: &[u32]) -> Option<&Node> {
        let mut node = self.nodes.first()?;
        for id in so_far {
            node = &self.nodes[*node.children.get(id)?];
        }
        Some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_of_another_choice_may_end_or_go_on() {
        let ids: [&[u32]; 3] = [&[1, 2], &[1, 2, 3], &[4]];
        let choices = Choices::new(ids);
        assert_eq!(choices.allowed(&[], &[9]), [1, 4]);
        assert_eq!(choices.allowed(&[1], &[9]), [2]);
        assert_eq!(choices.allowed(&[1, 2], &[9]), [3, 9]);
        assert_eq!(choices.allowed(&[1, 2, 3], &[9]), [0u32; 0]);
        assert_eq!(choices.chosen(&[1, 2]), Some(0));
        assert_eq!(choices.chosen(&[1]), None);
        assert_eq!(choices.allowed(&[7], &[9]), [0u32; 0]);
    }
}
