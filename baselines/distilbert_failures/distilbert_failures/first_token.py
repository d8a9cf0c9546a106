"""The last layer of an encoder, computed for the first token only: the head reads no other.

Attention, output and feed-forward network of the other tokens are what nobody looks at. Without
them the layer costs its keys and values, a sixth. The first token's output is the same.
"""

from collections.abc import Callable
from typing import Any, cast

from torch import Tensor, nn
from transformers.models.bert.modeling_bert import BertLayer
from transformers.models.distilbert.modeling_distilbert import TransformerBlock


def read_first_token_only(layer: nn.Module) -> bool:
    """Make a layer return the first token's output only, in place; its tensors keep their names.

    Args:
        layer: Of any encoder; DistilBERT's and BERT's can be made so, others stay as they are.

    Returns:
        Whether it was.
    """
    if type(layer) is TransformerBlock:
        layer.__class__ = _FirstTokenBlock
    elif type(layer) is BertLayer:
        layer.__class__ = _FirstTokenBertLayer
    else:
        return False
    return True


class _FirstTokenBlock(TransformerBlock):
    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, **unused: Any
    ) -> Tensor:
        attention = self.attention
        projections = (attention.q_lin, attention.k_lin, attention.v_lin)
        read = _attend(attention, projections, hidden_states, attention_mask)
        x = self.sa_layer_norm(attention.out_lin(read) + hidden_states[:, :1])
        return cast(Tensor, self.output_layer_norm(self.ffn(x) + x))


class _FirstTokenBertLayer(BertLayer):
    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        *unused: Any,
        **also_unused: Any,
    ) -> Tensor:
        attention = self.attention.self
        projections = (attention.query, attention.key, attention.value)
        read = _attend(attention, projections, hidden_states, attention_mask)
        x = self.attention.output(read, hidden_states[:, :1])
        feed_forward = cast(Callable[[Tensor], Tensor], self.feed_forward_chunk)
        return feed_forward(x)


def _attend(
    attention: nn.Module,
    projections: tuple[nn.Module, nn.Module, nn.Module],
    x: Tensor,
    mask: Tensor | None,
) -> Tensor:
    """Return what the first token reads of all, before the output layer, [batch, 1, width].

    Args:
        attention: Has the size of a head, the scaling and the dropout.
        projections: Of queries, keys and values.
        x: Shape [batch, tokens, width].
        mask: Which tokens are there, shape [batch, 1, 1 or tokens, tokens]; None if all are.
    """
    query, key, value = (
        project(of).unflatten(-1, (-1, attention.attention_head_size)).transpose(1, 2)
        for project, of in zip(projections, (x[:, :1], x, x), strict=True)
    )
    read = nn.functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=None if mask is None else mask[:, :, :1],
        dropout_p=cast(nn.Dropout, attention.dropout).p if attention.training else 0.0,
        scale=cast(float, attention.scaling),
    )
    return read.transpose(1, 2).flatten(2)
