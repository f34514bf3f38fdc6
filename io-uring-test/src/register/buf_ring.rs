use crate::harness::*; pub(crate) const CASES: &[Case] = &[];
