//! Parents and children, as linked lists whose links are in the fibers. Therefore the time to spawn or end a
//! fiber does not depend on its number of siblings.

use std::iter;

use crate::scheduler::{Key, Scheduler};

/// The links of a fiber in the tree.
#[derive(Default)]
pub(crate) struct Links {
    parent: Option<Key>,
    first_child: Option<Key>,
    last_child: Option<Key>,
    older: Option<Key>,
    younger: Option<Key>,
}

impl Scheduler {
    /// Inserts a fiber as the youngest child of its parent.
    pub(crate) fn link(&mut self, parent: Key, child: Key) {
        let older = self.fibers[parent].links.last_child.replace(child);
        match older {
            Some(older) => self.fibers[older].links.younger = Some(child),
            None => self.fibers[parent].links.first_child = Some(child),
        }
        let links = &mut self.fibers[child].links;
        (links.parent, links.older) = (Some(parent), older);
    }

    /// Removes a fiber, which has no children, from the tree.
    pub(crate) fn unlink(&mut self, child: Key) {
        let Links { parent, first_child, older, younger, .. } = self.fibers[child].links;
        debug_assert!(first_child.is_none(), "a parent outlives its children");
        match older {
            Some(older) => self.fibers[older].links.younger = younger,
            None => self.parent_links(parent).first_child = younger,
        }
        match younger {
            Some(younger) => self.fibers[younger].links.older = older,
            None => self.parent_links(parent).last_child = older,
        }
    }

    fn parent_links(&mut self, parent: Option<Key>) -> &mut Links {
        &mut self.fibers[parent.expect("the root is never removed")].links
    }

    /// Returns a fiber's children, the oldest first.
    pub(crate) fn children(&self, parent: Key) -> impl Iterator<Item = Key> {
        let first = self.fibers[parent].links.first_child;
        iter::successors(first, |&child| self.fibers[child].links.younger)
    }
}
