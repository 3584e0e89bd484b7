//! The language by examples: an expression, and what it gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use expect_test::{Expect, expect};
use serde_json::json;

use crate::{Budget, Env, Field, ObjectType, PER_EXPRESSION, Size, Type, Value, compile};

fn run(source: &str) -> String {
    let data = json!({"n": 3, "half": 1.5, "name": "web", "list": [3, 1, 2], "names": ["a", "b"], "none": null,
        "map": {"a": 1, "b-c": 2}, "items": [{"k": "x", "v": 1}, {"k": "y", "v": 2}]});
    let env = Env::new().with("self", Type::Dyn);
    match compile(source, &env) {
        Err(error) => error.to_string(),
        Ok(program) => {
            let budget = Budget::new(PER_EXPRESSION);
            match program.eval(&[("self", Value::json(&data))], &budget) {
                Ok(value) => format!("{value:?}"),
                Err(error) => format!("error: {error}"),
            }
        }
    }
}

#[track_caller]
fn all(table: &[(&str, &str)]) {
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(source, expected)| {
            let found = run(source);
            (found != *expected).then(|| format!("{source}\n  expected {expected}\n  found    {found}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_that_is_wrong_is_told() {
    all(&[
        (
            "a / b",
            "ERROR: <input>:1:1: undeclared reference to 'a' (in container '')\n | a / b\n | ^\n\
             ERROR: <input>:1:5: undeclared reference to 'b' (in container '')\n | a / b\n | ....^",
        ),
        ("'é' + x", "ERROR: <input>:1:7: undeclared reference to 'x' (in container '')\n | 'é' + x\n | .．....^"),
    ]);
}

#[test]
fn operators() {
    all(&[
        ("1 + 2 * 3 == 7", "true"),
        ("7 / 2", "3"),
        ("-7 % 3", "-1"),
        ("1.5 + 2.0", "3.5"),
        ("'a' + 'b'", "\"ab\""),
        ("[1] + [2]", "[1,2]"),
        ("1 / 0 == 1", "error: division by zero"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("true || 1 / 0 == 1", "true"),
        ("1 / 0 == 1 || true", "true"),
        ("false && 1 / 0 == 1", "false"),
        ("1 / 0 == 1 && true", "error: division by zero"),
        ("self.n > 2 ? 'big' : 'small'", "\"big\""),
        ("2 in [1, 2]", "true"),
        ("'a' in self.map", "true"),
        ("1 < 1.5", "true"),
        ("self.n == 3.0", "true"),
        ("1u + 2u", "3"),
        ("b'ab' == bytes('ab')", "true"),
        ("null == self.none", "true"),
        ("{'a': 1}['a']", "1"),
        ("[1, 2][1]", "2"),
        ("[1][5]", "error: index out of bounds: 5"),
        ("!true", "false"),
        ("type(1) == int && type('a') == string", "true"),
    ]);
}

#[test]
fn fields_and_macros() {
    all(&[
        ("self.name", "\"web\""),
        ("has(self.name) && !has(self.other)", "true"),
        ("self.other", "error: no such key: other"),
        ("self.map['b-c']", "2"),
        ("self.list.all(x, x > 0)", "true"),
        ("self.list.exists(x, x == 2)", "true"),
        ("self.list.exists_one(x, x > 1)", "false"),
        ("self.list.map(x, x * 2)", "[6,2,4]"),
        ("self.list.map(x, x > 1, x * 2)", "[6,4]"),
        ("self.list.filter(x, x > 1)", "[3,2]"),
        ("self.map.all(k, k != '')", "true"),
        ("self.items.map(i, i.k)", "[\"x\",\"y\"]"),
        ("[[1, 2], [3]].map(l, l.map(x, x + 1))", "[[2,3],[4]]"),
        ("[1, 0].exists(x, 1 / x == 1)", "true"),
        ("[0, 1].exists(x, 1 / x == 1)", "true"),
        ("[0, 2].exists(x, 1 / x == 1)", "error: division by zero"),
        ("self.list.all(i, x, i < 3 && x > 0)", "true"),
        ("self.list.transformList(i, x, i + x)", "[3,2,4]"),
        ("self.map.transformMap(k, v, v + 1)", "{\"a\":2,\"b-c\":3}"),
        ("self.list.existsOne(i, x, x == 1)", "true"),
    ]);
}

#[test]
fn optionals() {
    all(&[
        ("self.?name.orValue('x')", "\"web\""),
        ("self.?other.orValue('x')", "\"x\""),
        ("self.?other.?deep.hasValue()", "false"),
        ("self.map[?'a'].value()", "1"),
        ("self.map[?'z'].orValue(7)", "7"),
        ("[?self.?name, ?self.?other]", "[\"web\"]"),
        ("{?'a': self.?other, 'b': dyn(1)}", "{\"b\":1}"),
        ("optional.of(1).or(optional.of(2)).value()", "1"),
        ("optional.none().hasValue()", "false"),
        ("optional.ofNonZeroValue(0).hasValue()", "false"),
        ("self.?n.optMap(n, n + 1).value()", "4"),
        ("self.?items[0].k.orValue('')", "\"x\""),
    ]);
}

#[test]
fn lists_and_sets() {
    all(&[
        ("[1, 2, 2].isSorted() && !self.list.isSorted()", "true"),
        ("self.list.sum()", "6"),
        ("[1.5, 2.0].sum()", "3.5"),
        ("self.list.min()", "1"),
        ("['b', 'a'].max()", "\"b\""),
        ("self.list.indexOf(2)", "2"),
        ("self.list.lastIndexOf(9)", "-1"),
        ("['a', 'b'].join('-')", "\"a-b\""),
        ("self.names.join()", "\"ab\""),
        ("size(self.list) + self.list.size()", "6"),
        ("lists.range(3)", "[0,1,2]"),
        ("[2, 1, 2, 1].distinct()", "[2,1]"),
        ("[{'a': 1}, {'a': 1}, {'a': 2}].distinct().size()", "2"),
        ("self.list.first().value() == self.list[0] && self.list.last().value() == self.list[2]", "true"),
        ("[1].filter(x, x > 1).first().hasValue()", "false"),
        ("[[1], [2, 3]].flatten()", "[1,2,3]"),
        ("[[[1]], [[2, 3]]].flatten(2)", "[1,2,3]"),
        ("[1, 2].reverse()", "[2,1]"),
        ("[1, 2, 3].slice(1, 3)", "[2,3]"),
        ("[1].slice(0, 2)", "error: cannot slice(0, 2), list is length 1"),
        ("[3, 1, 2].sort()", "[1,2,3]"),
        ("[3, 1, 2].sortBy(x, -x)", "[3,2,1]"),
        ("['ccc', 'a', 'bb'].sortBy(x, x.size()).sortBy(x, x)", "[\"a\",\"bb\",\"ccc\"]"),
        ("{'a': 1}.transformMapEntry(k, v, {v: k})", "{\"1\":\"a\"}"),
        ("optional.unwrap([optional.of(1), optional.none()])", "[1]"),
        ("[self.?name, self.?other].unwrapOpt()", "[\"web\"]"),
        ("sets.contains([1, 2], [2])", "true"),
        ("sets.equivalent([1, 2], [2, 1, 1])", "true"),
        ("sets.intersects([1], [2])", "false"),
    ]);
}

#[test]
fn texts() {
    all(&[
        ("'tacocat'.charAt(3)", "\"o\""),
        ("'hello mellow'.indexOf('ello', 2)", "7"),
        ("'hello mellow'.lastIndexOf('ello')", "7"),
        ("'TacoCÆt'.lowerAscii()", "\"tacocÆt\""),
        ("'tacocat'.upperAscii()", "\"TACOCAT\""),
        ("'hello hello'.replace('he', 'we', 1)", "\"wello hello\""),
        ("'a,b,c'.split(',')", "[\"a\",\"b\",\"c\"]"),
        ("'a,b,c'.split(',', 2)", "[\"a\",\"b,c\"]"),
        ("'tacocat'.substring(4)", "\"cat\""),
        ("'tacocat'.substring(0, 4)", "\"taco\""),
        ("'tacocat'.substring(4, 1)", "error: invalid substring range. start: 4, end: 1"),
        ("'  x '.trim()", "\"x\""),
        ("'%s is %d, %.2f'.format(['a', 3, 1.5])", "\"a is 3, 1.50\""),
        ("strings.quote('a\"b')", "\"\\\"a\\\\\\\"b\\\"\""),
        ("'abc 123'.find('[0-9]+')", "\"123\""),
        ("'1 22 3'.findAll('[0-9]+', 2)", "[\"1\",\"22\"]"),
        ("'abc'.matches('^a.c$')", "true"),
        ("'äb'.size()", "2"),
        ("int('42') + 1", "43"),
        ("string(1.0)", "\"1\""),
        ("double('1e3')", "1000.0"),
        ("'abc'.contains('b') && 'abc'.startsWith('a') && 'abc'.endsWith('c')", "true"),
    ]);
}

#[test]
fn libraries() {
    all(&[
        ("quantity('1.5Gi').isGreaterThan(quantity('1G'))", "true"),
        ("quantity('50k').add(20).asInteger()", "50020"),
        ("isQuantity('1.5x')", "false"),
        ("quantity('200M').compareTo(quantity('0.2G'))", "0"),
        ("url('https://user@example.com:80/a%20b?x=1&x=2').getHost()", "\"example.com:80\""),
        ("url('https://[::1]:80/').getHostname()", "\"::1\""),
        ("url('https://a/b?x=1&x=2').getQuery()", "{\"x\":[\"1\",\"2\"]}"),
        ("isURL('/absolute') && !isURL('relative')", "true"),
        ("ip('192.168.0.1').family()", "4"),
        ("isIP('::1') && !isIP('1.2.3')", "true"),
        ("ip.isCanonical('2001:db8::abcd') && !ip.isCanonical('2001:DB8::ABCD')", "true"),
        ("cidr('192.168.0.0/24').containsIP('192.168.0.7')", "true"),
        ("cidr('192.168.0.0/24').containsCIDR('192.168.0.0/23')", "false"),
        ("cidr('192.168.1.5/24').masked() == cidr('192.168.1.0/24')", "true"),
        ("isSemver('1.2.3') && semver('1.10.0').isGreaterThan(semver('1.9.9'))", "true"),
        ("semver('v1.0', true).major()", "1"),
        ("format.named('dns1123Label').value().validate('a_b').hasValue()", "true"),
        ("format.dns1123Label().validate('ab').hasValue()", "false"),
        ("timestamp('2026-01-02T03:04:05Z').getHours('+02:00')", "5"),
        ("timestamp('2026-01-02T03:04:05Z').getDayOfWeek()", "5"),
        ("duration('1h30m').getMinutes()", "90"),
        ("timestamp('2026-01-02T00:00:00Z') - timestamp('2026-01-01T00:00:00Z') == duration('24h')", "true"),
        ("timestamp('2026-01-01T00:00:00Z') + duration('1h') < timestamp('2026-01-02T00:00:00Z')", "true"),
    ]);
}

fn typed(source: &str, expect: Expect) {
    let field = |name: &str, of: Type| (crate::escape(name).unwrap(), Field { name: name.into(), of });
    let string = |max| Type::String(Size(Some(max)));
    let fields: BTreeMap<String, Field> = [
        field("replicas", Type::Int),
        field("name", string(10)),
        field("not-so", Type::Bool),
        field("names", Type::List(Arc::new(string(10)), crate::ListKind::Atomic, Size(Some(5)))),
        field("open", Type::List(Arc::new(Type::STRING), crate::ListKind::Atomic, Size::UNKNOWN)),
        field("in", Type::Int),
    ]
    .into();
    let object = Type::Object(Arc::new(ObjectType { name: "object".into(), fields }));
    let shown = match compile(source, &Env::new().with("self", object)) {
        Ok(program) => format!("{} {}", program.result(), program.estimated_cost()),
        Err(error) => error.to_string(),
    };
    expect.assert_eq(&shown);
}

#[test]
fn types() {
    typed("self.replicas > 1", expect!["bool 4"]);
    typed("self.not__dash__so && self.__in__ == 1", expect!["bool 6"]);
    typed(
        "self.other == 1",
        expect![[r#"
        ERROR: <input>:1:5: undefined field 'other'
         | self.other == 1
         | ....^"#]],
    );
    typed(
        "self.replicas + 'a'",
        expect![[r#"
        ERROR: <input>:1:15: found no matching overload for '_+_' applied to '(int, string)'
         | self.replicas + 'a'
         | ..............^"#]],
    );
    typed(
        "self.name.startsWith(1)",
        expect![[r#"
        ERROR: <input>:1:21: found no matching overload for 'startsWith' applied to 'string.(int)'
         | self.name.startsWith(1)
         | ....................^"#]],
    );
    typed(
        "nobody == 1",
        expect![[r#"
        ERROR: <input>:1:1: undeclared reference to 'nobody' (in container '')
         | nobody == 1
         | ^"#]],
    );
    typed("self.names.all(n, n.startsWith('a'))", expect!["bool 33"]);
    typed("self.open.all(n, self.open.all(m, m != n))", expect!["bool 3112949415206191107"]);
    typed("self.names.map(n, n.size())", expect!["list(int) 88"]);
    typed(
        "self.name.nothing()",
        expect![[r#"
        ERROR: <input>:1:18: undeclared reference to 'nothing' (in container '')
         | self.name.nothing()
         | .................^"#]],
    );
    typed(
        "self.name.matches('[')",
        expect![[r#"
        ERROR: <input>:1:19: invalid matches argument
         | self.name.matches('[')
         | ..................^"#]],
    );
    typed(
        "[1, 'a'].size() > 0",
        expect![[r#"
        ERROR: <input>:1:5: expected type 'int' but found 'string'
         | [1, 'a'].size() > 0
         | ....^"#]],
    );
    typed("'%s %d'.format(['a', 1]) == self.name && {1: [], 2: ['a']}.size() == 2", expect!["bool 69"]);
    typed(
        "duration('x') > duration('1h')",
        expect![[r#"
        ERROR: <input>:1:10: invalid duration argument
         | duration('x') > duration('1h')
         | .........^"#]],
    );
    typed(
        "1 +",
        expect![[r#"
        ERROR: <input>:1:4: Syntax error: mismatched input '<EOF>' expecting {'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}
         | 1 +
         | ...^"#]],
    );
    typed(
        "self.replicas ? 1 : 2",
        expect![[r#"
        ERROR: <input>:1:15: found no matching overload for '_?_:_' applied to '(int, int, int)'
         | self.replicas ? 1 : 2
         | ..............^"#]],
    );
    typed(
        "self.names[0] == self.replicas",
        expect![[r#"
        ERROR: <input>:1:15: found no matching overload for '_==_' applied to '(string, int)'
         | self.names[0] == self.replicas
         | ..............^"#]],
    );
}

#[test]
fn budgets_end_evaluations() {
    let data = json!((0..2000).collect::<Vec<i64>>());
    let program = compile("self.all(a, self.all(b, self.all(c, a + b + c >= 0)))", &Env::new().with("self", Type::Dyn));
    let program = program.unwrap();
    let budget = Budget::new(PER_EXPRESSION);
    let error = program.eval(&[("self", Value::json(&data))], &budget).unwrap_err();
    assert_eq!(error, crate::Error::OverBudget);
    assert_eq!(budget.left(), 0);
}

#[test]
fn growing_a_list_is_not_quadratic() {
    let data = json!((0..50_000).collect::<Vec<i64>>());
    let program = compile("self.map(a, a + 1).size()", &Env::new().with("self", Type::Dyn)).unwrap();
    let value = program.eval(&[("self", Value::json(&data))], &Budget::new(PER_EXPRESSION)).unwrap();
    assert_eq!(format!("{value:?}"), "50000");
}

#[test]
fn names_of_properties() {
    for (name, escaped) in [
        ("a", Some("a")),
        ("a-b.c/d", Some("a__dash__b__dot__c__slash__d")),
        ("a__b", Some("a__underscores__b")),
        ("in", Some("__in__")),
        ("namespace", Some("__namespace__")),
        ("9", None),
        ("a b", None),
    ] {
        assert_eq!(crate::escape(name).as_deref(), escaped, "{name}");
    }
}
