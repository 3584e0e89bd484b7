//! ServiceCIDR: a range cluster IPs are allocated from.

use jiff::Timestamp;
use pilothouse_api::{
    field::{Error, ErrorList, Path},
    names,
};
use serde_json::Value;

use crate::{
    checks::{IMMUTABLE, push_all},
    columns::{AGE, Column, NAME, age, name},
    strategy::{StatusMeta, Strategy},
    value::Look,
};

pub(crate) static STRATEGY: Strategy = Strategy {
    status_meta: StatusMeta::Keep,
    validate,
    validate_update,
    columns: &[NAME, Column::text("CIDRs"), AGE],
    row,
    ..Strategy::PLAIN
};

fn row(object: &Value, now: Timestamp) -> Vec<Value> {
    let cidrs: Vec<&str> = object.texts("spec.cidrs").collect();
    vec![name(object), cidrs.join(",").into(), age(object, now)]
}

fn validate(object: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("cidrs");
    let cidrs: Vec<&str> = object.texts("spec.cidrs").collect();
    if cidrs.is_empty() {
        return errors.push(Error::required(path, "at least one CIDR required"));
    }
    if cidrs.len() > 2 {
        return errors.push(Error::invalid(path, object.at("spec").clone(), "may only hold up to 2 values"));
    }
    for (index, cidr) in cidrs.iter().enumerate() {
        push_all(names::is_cidr(cidr), cidr, &path.index(index), errors);
    }
    if cidrs.len() == 2 && cidrs[0].contains(':') == cidrs[1].contains(':') {
        let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        errors.push(Error::invalid(path, object.at("spec.cidrs").clone(), detail));
    }
}

/// A second range may be added, nothing else.
fn validate_update(new: &Value, old: &Value, errors: &mut ErrorList) {
    let path = Path::new("spec").child("cidrs");
    let (have, had): (Vec<&str>, Vec<&str>) = (new.texts("spec.cidrs").collect(), old.texts("spec.cidrs").collect());
    if have.len() != had.len() && !(had.len() == 1 && have.len() == 2) {
        return errors.push(Error::invalid(path, new.at("spec.cidrs").clone(), IMMUTABLE));
    }
    for (index, (have, _)) in have.iter().zip(&had).enumerate().filter(|(_, (have, had))| have != had) {
        errors.push(Error::invalid(path.index(index), *have, IMMUTABLE));
    }
    if have.len() > had.len() {
        validate(new, errors);
    }
}
