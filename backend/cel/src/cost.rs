//! What evaluation costs: one unit is about one step of the language's first implementation, whose numbers these are.

use std::cell::Cell;

use crate::error::{Error, Result};

/// What one evaluation of one expression may cost.
pub const PER_EXPRESSION: u64 = 1_000_000;

pub(crate) const LIST: u64 = 10;
pub(crate) const MAP: u64 = 30;
pub(crate) const STRUCT: u64 = 40;

/// What is left to spend. Shared by all expressions that are evaluated for one request.
#[derive(Debug)]
pub struct Budget {
    left: Cell<u64>,
}

impl Budget {
    pub fn new(units: u64) -> Self {
        Self { left: Cell::new(units) }
    }

    pub fn left(&self) -> u64 {
        self.left.get()
    }

    pub(crate) fn spend(&self, units: u64) -> Result<()> {
        match self.left.get().checked_sub(units) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => {
                self.left.set(0);
                Err(Error::OverBudget)
            }
        }
    }

    /// A part of this budget, at most `most`; what it spends has to be told by [`Budget::settle`].
    pub fn part(&self, most: u64) -> Self {
        Self::new(self.left().min(most))
    }

    /// Takes what `part`, which began with `most` or all that was left, has spent.
    pub fn settle(&self, part: &Self, most: u64) {
        let spent = self.left().min(most).saturating_sub(part.left());
        self.left.set(self.left().saturating_sub(spent));
    }
}

/// A tenth of a size, rounded up: what walking a text costs.
pub(crate) fn walk(size: u64) -> u64 {
    size.div_ceil(10)
}
