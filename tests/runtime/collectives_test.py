"""Collectives in hand-written program texts, and in really compiled ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from u2pl_jax.runtime import collectives, sharding


def program(body, *others):
  """The text of a program with these lines in its entry computation."""
  lines = "\n".join(f"  {line}" for line in body)
  return "\n\n".join(
    [
      "HloModule jit_step, is_scheduled=true",
      *others,
      "ENTRY %main.9_spmd (p: f32[8]) -> f32[8] {\n" + lines + "\n}",
    ]
  )


def parse_one(line):
  (found,) = collectives.parse(program([line]))
  return found


def test_an_all_reduce_has_the_bytes_of_its_result():
  found = parse_one(
    "ROOT %all-reduce.1 = f32[8,50,256]{2,1,0} all-reduce(%dot.3),"
    " channel_id=1, replica_groups={{0,1}}, to_apply=%add,"
    ' metadata={op_name="jit(step)/jvp(M)/dot" stack_frame_id=3}'
  )
  assert found == collectives.Collective(
    "all-reduce",
    (collectives.Array("f32", (8, 50, 256), "jit(step)/jvp(M)/dot"),),
    count=1,
    count_is_known=True,
  )
  assert found.nbytes == 8 * 50 * 256 * 4
  assert str(found.arrays[0]) == "f32[8,50,256]"


@pytest.mark.parametrize(
  "array, nbytes",
  [
    ("bf16[3,5]{1,0:T(8,128)(2,1)S(1)}", 30),
    ("pred[7]{0}", 7),
    ("s32[]", 4),
    ("f8e4m3fn[16]{0}", 16),
    ("u4[16]{0}", 8),
    ("c64[2]{0}", 16),
    ("s64[<=10]{0}", 80),
  ],
)
def test_bytes_of_each_type(array, nbytes):
  assert parse_one(f"%a = {array} all-to-all(%x)").nbytes == nbytes


def test_combined_collectives_keep_the_name_of_each_array():
  found = parse_one(
    "%all-reduce.2 = (f32[3,3,8,4]{3,2,1,0}, /*index=1*/f32[4]{0})"
    " all-reduce(%a, %b), channel_id=1, to_apply=%add,"
    ' metadata={op_name="jit(step)/transpose(jvp(M))/(conv/dot:bn/sum)"}'
  )
  assert [str(array) for array in found.arrays] == ["f32[3,3,8,4]", "f32[4]"]
  assert [array.op_name for array in found.arrays] == [
    "jit(step)/transpose(jvp(M))/conv/dot",
    "jit(step)/transpose(jvp(M))/bn/sum",
  ]
  assert found.nbytes == (3 * 3 * 8 * 4 + 4) * 4


def test_a_shared_name_is_that_of_all_arrays():
  found = parse_one(
    "%all-reduce.2 = (f32[4]{0}, f32[4]{0}) all-reduce(%a, %b),"
    ' metadata={op_name="jit(step)/bn/reduce_sum"}'
  )
  names = [array.op_name for array in found.arrays]
  assert names == ["jit(step)/bn/reduce_sum"] * 2


def test_a_reduce_scatter_has_the_bytes_of_its_operand():
  (found,) = collectives.parse(
    program(
      [
        "%grad = f32[64,2]{1,0} parameter(0)",
        "%rs = f32[8,2]{1,0} reduce-scatter(%grad), dimensions={0},"
        " to_apply=%add",
      ]
    )
  )
  assert found.nbytes == 64 * 2 * 4


def test_start_and_end_of_asynchronous_ones_count_once_with_the_result():
  found = collectives.parse(
    program(
      [
        "%ag = (f32[2]{0}, f32[16]{0}) all-gather-start(%p), dimensions={0},"
        ' metadata={op_name="gather"}',
        "%cp = (s32[6]{0}, s32[6]{0}, u32[], u32[])"
        " collective-permute-start(%q), source_target_pairs={{0,1}}",
        "%ar = f32[3]{0} all-reduce-start(%r), to_apply=%add",
        "%ar.done = f32[3]{0} all-reduce-done(%ar)",
        "%cp.done = s32[6]{0} collective-permute-done(%cp)",
        "%ag.done = f32[16]{0} all-gather-done(%ag)",
      ]
    )
  )
  assert [(each.kind, each.nbytes) for each in found] == [
    ("all-gather", 64),
    ("collective-permute", 24),
    ("all-reduce", 12),
  ]
  assert found[0].arrays[0].op_name == "gather"


def test_an_asynchronous_call_counts_once():
  (found,) = collectives.parse(
    program(
      [
        "%s = ((f32[8]{0}), f32[8]{0}) async-start(%p), calls=%wrapped",
        "%d = f32[8]{0} async-done(%s), calls=%wrapped",
      ],
      "%wrapped (x: f32[8]) -> f32[8] {\n"
      "  ROOT %a2a = f32[8]{0} all-to-all(%x), dimensions={0}\n"
      '}, execution_thread="parallel"',
    )
  )
  assert (found.kind, found.count) == ("all-to-all", 1)


LOOP_BODY = """%body (s: (s32[], f32[2])) -> (s32[], f32[2]) {
  %sum = f32[2]{0} all-reduce(%x), to_apply=%add
  ROOT %t = (s32[], f32[2]{0}) tuple(%i, %sum)
}"""


def loop(name, callee, trips):
  known = f', backend_config={{"known_trip_count":{{"n":"{trips}"}}}}'
  return (
    f"%{name} = (s32[], f32[2]{{0}}) while(%init), condition=%cond,"
    f" body=%{callee}{known if trips else ''}"
  )


CONDITION = """%cond (s: (s32[], f32[2])) -> pred[] {
  ROOT %lt = pred[] compare(%i, %n), direction=LT
}"""


def test_what_a_loop_sends_counts_as_often_as_the_loop_runs():
  outer = "%outer (s: (s32[], f32[2])) -> (s32[], f32[2]) {\n  " + loop(
    "inner", "body", 5
  )
  (found,) = collectives.parse(
    program([loop("while.1", "outer", 3)], LOOP_BODY, CONDITION, outer + "\n}")
  )
  assert (found.count, found.count_is_known) == (15, True)
  assert found.nbytes == 15 * 8


def test_a_loop_of_unknown_length_counts_one_iteration_and_says_so():
  (found,) = collectives.parse(
    program([loop("while.1", "body", None)], LOOP_BODY, CONDITION)
  )
  assert (found.count, found.count_is_known) == (1, False)


def test_calls_and_every_branch_count():
  callee = (
    "%{} (x: f32[2]) -> f32[2] {{\n"
    "  ROOT %r = f32[2]{{0}} all-reduce(%x), to_apply=%add\n}}"
  )
  found = collectives.parse(
    program(
      [
        "%c = f32[2]{0} conditional(%i, %x, %x),"
        " branch_computations={%left, %right}",
        "%d = f32[2]{0} call(%x), to_apply=%third",
      ],
      *map(callee.format, ("left", "right", "third")),
    )
  )
  assert len(found) == 3


def test_a_text_without_an_entry_is_refused():
  with pytest.raises(ValueError, match="no ENTRY"):
    collectives.parse("module @jit_step {}")


@pytest.mark.parametrize(
  "shape, expected",
  [
    ((3, 3, 16, 32), True),
    ((32, 3, 1, 3, 16), True),  # As the compiler may turn it.
    ((3, 3, 16, 4), True),  # A part.
    ((16, 32), True),  # A 1x1 convolution.
    ((32,), False),  # Or a batch statistic.
    ((), False),
    ((1, 32), False),
    ((2, 9, 16, 32), False),
  ],
)
def test_parameters_are_known_by_their_dimensions(shape, expected):
  known = {
    collectives.dimensions(shape)
    for shape in ((3, 3, 16, 32), (3, 3, 16, 4), (1, 1, 16, 32), (32,))
  }
  array = collectives.Array("f32", shape, "jit(step)/transpose(jvp(M))/dot")
  for kind in ("all-reduce", "all-gather"):
    assert collectives.is_of_parameters(kind, array, known) == expected


@pytest.mark.parametrize("kind", ["all-reduce", "reduce-scatter"])
def test_sums_of_the_forward_pass_are_no_gradients(kind):
  array = collectives.Array("f32", (21, 256), "jit(step)/pk,pd->kd/dot_general")
  assert not collectives.is_of_parameters(kind, array, {(21, 256)})


def test_integers_are_no_parameters():
  array = collectives.Array("s32", (21, 256), "jit(step)/transpose(jvp(M))/dot")
  assert not collectives.is_of_parameters("all-gather", array, {(21, 256)})


# Compiled programs, on the eight devices of the tests.


def compiled(per_device, spec_in, spec_out, shape):
  """Collectives of a program that runs `per_device` on parts of an array."""
  mesh = sharding.create_mesh((4, 2))
  step = jax.jit(
    jax.shard_map(per_device, mesh=mesh, in_specs=spec_in, out_specs=spec_out)
  )
  text = step.lower(jax.ShapeDtypeStruct(shape, jnp.float32)).compile()
  return collectives.parse(text.as_text())


SPLIT = jax.P(("data", "fsdp"))


def test_compiled_sum():
  (found,) = compiled(
    lambda x: jax.lax.psum(x, ("data", "fsdp")), SPLIT, jax.P(), (16, 3)
  )
  assert (found.kind, found.count, found.nbytes) == ("all-reduce", 1, 24)
  assert "psum" in found.arrays[0].op_name


def test_compiled_gather():
  (found,) = compiled(
    lambda x: jax.lax.all_gather(x, "data", tiled=True), SPLIT, SPLIT, (16, 3)
  )
  assert (found.kind, found.count, found.nbytes) == ("all-gather", 1, 8 * 3 * 4)


def test_compiled_scatter():
  found = compiled(
    lambda x: jax.lax.psum_scatter(x, "data", tiled=True),
    SPLIT,
    SPLIT,
    (32, 3),
  )
  assert [(each.kind, each.nbytes) for each in found] == [
    ("reduce-scatter", 4 * 3 * 4)
  ]


def test_compiled_permutation():
  shift = [(i, (i + 1) % 4) for i in range(4)]
  (found,) = compiled(
    lambda x: jax.lax.ppermute(x, "data", shift), SPLIT, SPLIT, (16, 3)
  )
  assert found.kind == "collective-permute"
  assert (found.count, found.nbytes) == (1, 24)


def test_compiled_exchange():
  found = compiled(
    lambda x: jax.lax.all_to_all(x, "data", 0, 1, tiled=True),
    SPLIT,
    SPLIT,
    (32, 3),
  )
  assert {each.kind for each in found} == {"all-to-all"}
  assert sum(each.nbytes for each in found) == 4 * 3 * 4


def add_up(x):
  return jax.lax.psum(x, ("data", "fsdp")) / 8 + x


def test_compiled_loop():
  (found,) = compiled(
    lambda x: jax.lax.fori_loop(0, 7, lambda _, y: add_up(y), x),
    SPLIT,
    SPLIT,
    (16, 3),
  )
  assert (found.count, found.count_is_known) == (7, True)
  assert found.nbytes == 7 * 24


def test_compiled_loop_of_unknown_length():
  found = compiled(
    lambda x: jax.lax.while_loop(
      lambda y: jax.lax.pmax(jnp.sum(y), ("data", "fsdp")) < 9, add_up, x
    ),
    SPLIT,
    SPLIT,
    (16, 3),
  )
  assert [each.count for each in found] == [1, 1]
  assert not any(each.count_is_known for each in found)


def test_collectives_that_the_compiler_puts_in():
  """A gradient over a split batch: one array of the parameter's shape."""
  mesh = sharding.create_mesh((8, 1))
  split, whole = sharding.split_batch(mesh), sharding.replicate(mesh)

  @jax.jit
  def compute_gradient(weights, x):
    return jax.grad(lambda w: jnp.mean((x @ w) ** 2))(weights)

  lowered = compute_gradient.lower(
    jax.ShapeDtypeStruct((6, 5), np.float32, sharding=whole),
    jax.ShapeDtypeStruct((16, 6), np.float32, sharding=split),
  )
  (found,) = collectives.parse(lowered.compile().as_text())
  assert found.kind == "all-reduce"
  assert found.nbytes == 6 * 5 * 4
  assert collectives.is_of_parameters(found.kind, found.arrays[0], {(5, 6)})
