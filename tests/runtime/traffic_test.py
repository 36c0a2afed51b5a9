"""Bytes of hand-written program texts."""

import jax
import jax.numpy as jnp

from u2pl_jax.runtime import traffic


def program(body, *others):
  lines = "\n".join(f"  {line}" for line in body)
  return "\n\n".join(
    [*others, "ENTRY %main (p: f32[8]) -> f32[8] {\n" + lines + "\n}"]
  )


def computation(name, *body):
  lines = "\n".join(f"  {line}" for line in body)
  return f"%{name} (p: f32[8]) -> f32[8] {{\n{lines}\n}}"


def test_instructions_read_operands_and_write_results():
  text = program(
    [
      "%p = f32[100]{0} parameter(0)",
      "%b = f32[10,10]{1,0} bitcast(%p)",
      "%d = f32[10,20]{1,0} dot(%b, %b), lhs_contracting_dims={1}",
      "ROOT %t = (f32[10,20]{1,0}) tuple(%d)",
    ]
  )
  assert traffic.moved_bytes(text) == 4 * (100 + 100 + 200)
  assert traffic.moved_bytes(text, cache=500) == 300


def test_what_stays_on_the_chip_does_not_count():
  text = program(
    [
      "%p = f32[100]{0:T(128)} parameter(0)",
      "%s = (f32[100]{0:T(128)S(1)}, f32[100]{0:T(128)}, u32[]{:S(2)})"
      " copy-start(%p)",
      "%c = f32[100]{0:T(128)S(1)} copy-done(%s)",
      "ROOT %f = f32[7]{0:T(128)} fusion(%c), kind=kLoop, calls=%body",
    ],
    computation("body", "%q = f32[100]{0} parameter(0)",
                "ROOT %r = f32[7]{0} reduce(%q)"),
  )  # fmt: skip
  # The copy reads 100 numbers, which are then there; the fusion writes 7.
  assert traffic.moved_bytes(text) == 4 * (100 + 7)


def test_slices_and_updates_touch_a_part():
  sliced = computation(
    "sliced", "%q = f32[100]{0} parameter(0)",
    "ROOT %r = f32[7]{0} dynamic-slice(%q), dynamic_slice_sizes={7}"
  )  # fmt: skip
  text = program(
    [
      "%p = f32[100]{0} parameter(0)",
      "%f = f32[7]{0} fusion(%p), kind=kLoop, calls=%sliced",
      "ROOT %u = f32[100]{0} dynamic-update-slice(%p, %f)",
    ],
    sliced,
  )
  assert traffic.moved_bytes(text) == 4 * 7


def test_loops_count_their_bodies_and_conditionals_the_cheapest():
  body = computation("body", "%q = f32[8]{0} parameter(0)",
                     "ROOT %n = f32[8]{0} negate(%q)")  # fmt: skip
  small = computation("small", "ROOT %q = f32[8]{0} parameter(0)")
  text = program(
    [
      "%p = f32[8]{0} parameter(0)",
      "%w = f32[8]{0} while(%p), condition=%small, body=%body,"
      ' backend_config={"known_trip_count":{"n":"5"}}',
      "ROOT %c = f32[8]{0} conditional(%w),"
      " branch_computations={%body, %small}",
    ],
    body,
    small,
  )
  assert traffic.moved_bytes(text) == 5 * 2 * 32


def test_of_a_really_compiled_program():
  square = jax.ShapeDtypeStruct((64, 64), jnp.float32)
  compiled = jax.jit(lambda x: jnp.sin(x) @ x).lower(square).compile()
  moved = traffic.moved_bytes(compiled.as_text())
  assert 3 * 64 * 64 * 4 <= moved <= 8 * 64 * 64 * 4
