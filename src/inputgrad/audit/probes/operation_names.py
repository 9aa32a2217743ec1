"""Torch's functions by what they do to a graph or a loss: which end the graph, which add, which are linear. Names alone, as a function mode sees them."""

CUTTING = {"detach", "detach_", "numpy", "item", "tolist", "__float__", "__int__", "__bool__", "__array__"}
JOINING = {"stack", "cat", "concat", "hstack"}
ADDING = {"add", "add_", "__add__", "__radd__", "__iadd__", "sub", "sub_", "__sub__", "__rsub__", "__isub__", "rsub"} | JOINING
LINEAR = ADDING | {
    "mul", "mul_", "__mul__", "__rmul__", "__imul__", "div", "div_", "__truediv__", "__itruediv__", "true_divide", "neg", "__neg__", "mean", "sum", "clone",
    "view", "reshape", "squeeze", "unsqueeze", "flatten", "to", "float", "double", "contiguous", "view_as", "__getitem__", "nanmean", "nansum", "expand",
    "__setitem__", "copy_", "select", "unbind", "chunk", "split", "narrow", "index_select", "permute", "transpose", "movedim", "ravel",
}  # fmt: skip
AVERAGING = {"mean", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "cross_entropy", "nll_loss", "binary_cross_entropy", "kl_div",
             "binary_cross_entropy_with_logits"}  # fmt: skip
DIVIDING = {"div", "div_", "__truediv__", "__itruediv__", "true_divide"}
SCALING = ADDING - JOINING | DIVIDING | {"neg", "__neg__", "mul", "__mul__", "__rmul__"}
"""What a mean may go through and still be one: sums, signs and factors."""
FEEDING = {
    "linear", "bilinear", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "matmul", "__matmul__", "__rmatmul__",
    "addmm", "mm", "bmm", "baddbmm", "batch_norm", "layer_norm", "group_norm", "instance_norm", "lstm", "gru", "rnn_tanh", "rnn_relu",
    "multi_head_attention_forward", "scaled_dot_product_attention",
}  # fmt: skip
"""What a network does with its input."""
KEEPING_VALUES = {"clone", "view", "reshape", "squeeze", "unsqueeze", "flatten", "to", "float", "double", "contiguous", "view_as", "detach", "detach_", "data",
                  "requires_grad_", "__getitem__", "expand", "permute", "transpose"} | JOINING  # fmt: skip
COMPARING = {"mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss"}
BOUNDING = {"clamp", "clamp_", "clip", "clip_", "clamp_min", "clamp_max", "clamp_min_", "clamp_max_", "minimum", "maximum", "min", "max"}
LAYERS = {"linear", "conv1d", "conv2d", "conv3d", "flatten", "matmul", "__matmul__", "addmm", "mm"}
