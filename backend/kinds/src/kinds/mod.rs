//! One file per kind with behaviour, one line per kind in the table.

use crate::strategy::Strategy;

mod config_map;

/// Group, resource and behaviour; sorted.
const ALL: &[(&str, &str, &Strategy)] = &[("", "configmaps", &config_map::STRATEGY)];

pub(crate) fn find(group: &str, resource: &str) -> Option<&'static Strategy> {
    let index = ALL.binary_search_by(|(g, r, _)| (*g, *r).cmp(&(group, resource))).ok()?;
    Some(ALL[index].2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_every_line_is_a_resource() {
        assert!(ALL.windows(2).all(|w| (w[0].0, w[0].1) < (w[1].0, w[1].1)));
        for (group, resource, _) in ALL {
            let known = crate::builtin().iter().any(|k| k.group == *group && k.plural == *resource);
            assert!(known, "{resource}.{group} is not in the facts");
        }
    }
}
