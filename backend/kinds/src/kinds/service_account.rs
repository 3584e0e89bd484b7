//! ServiceAccount. Source: <https://kubernetes.io/docs/concepts/security/service-accounts/>

use crate::{
    columns::{NAME_AGE, name_age_row},
    strategy::Strategy,
};

pub(crate) static STRATEGY: Strategy = Strategy { columns: NAME_AGE, row: name_age_row, ..Strategy::PLAIN };
