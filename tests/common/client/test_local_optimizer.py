import pytest
import torch

from common.client.local_optimizer import AdamW, Sgd, make_optimizer
from common.client.work import LocalWork


def test_a_step_by_hand():
    w = [torch.tensor([3.0, 5.0]), torch.tensor([[0.0]])]
    w_global = [torch.tensor([1.0, 1.0]), torch.tensor([[4.0]])]
    gradient = [torch.tensor([1.0, 2.0]), torch.tensor([[-1.0]])]
    Sgd(w, w_global, LocalWork(1, 1, learning_rate=0.25, mu=0.5)).step(gradient)
    assert w[0].tolist() == [3 - 0.25 * (1 + 0.5 * 2), 5 - 0.25 * (2 + 0.5 * 4)]
    assert w[1].tolist() == [[0 - 0.25 * (-1 + 0.5 * -4)]]
    assert [tensor.tolist() for tensor in (*gradient, *w_global)] == [[1, 2], [[-1]], [1, 1], [[4]]]


def test_at_mu_of_zero_a_step_is_that_of_plain_sgd_to_the_last_bit():
    """Where w_global is infinite, 0 (w - w_global) would not be 0."""
    rng = torch.Generator().manual_seed(0)
    w, g = torch.randn(1000, generator=rng), torch.randn(1000, generator=rng)
    expected = w.clone().add_(g, alpha=-0.1)
    Sgd([w], [torch.full((1000,), torch.inf)], LocalWork(1, 1, 0.1, mu=0.0)).step([g])
    assert torch.equal(w, expected)


def test_steps_with_momentum_by_hand():
    """v <- v/2 + g + mu (w - w_global), w <- w - v/4, from w_global = 1 and v = 0."""
    w = torch.tensor([1.0])
    work = LocalWork(1, 1, learning_rate=0.25, mu=2.0, momentum=0.5)
    optimizer = Sgd([w], [torch.tensor([1.0])], work)
    met = []
    for gradient in (4.0, 4.0, -1.0):
        optimizer.step([torch.tensor([gradient])])
        met.append(w.item())
    # v: 4; 2 + 4 + 2 (0 - 1) = 4; 2 - 1 + 2 (-1 - 1) = -3.
    assert met == [0.0, -1.0, -0.25]


def test_with_momentum_mu_of_zero_computes_no_proximal_term():
    """Where w_global is infinite, 0 (w - w_global) would not be 0."""
    rng = torch.Generator().manual_seed(0)
    w, g = torch.randn(1000, generator=rng), torch.randn(1000, generator=rng)
    expected = w.clone().add_(g, alpha=-0.1)
    work = LocalWork(1, 1, 0.1, mu=0.0, momentum=0.9)
    Sgd([w], [torch.full((1000,), torch.inf)], work).step([g])
    assert torch.equal(w, expected)


def test_weight_decay_of_sgd_is_that_of_the_weights_before_the_proximal_step():
    """3 - 0.25 (1 + 0.5 * 3 + 0.5 (3 - 1)), with each share at w = 3."""
    w, w_global = torch.tensor([3.0]), torch.tensor([1.0])
    for momentum in (0.0, 0.9):
        w.fill_(3.0)
        work = LocalWork(1, 1, 0.25, mu=0.5, momentum=momentum, weight_decay=0.5)
        Sgd([w], [w_global], work).step([torch.tensor([1.0])])
        assert w.item() == 3 - 0.25 * (1 + 1.5 + 1)
    assert w_global.item() == 1.0


def adamw(mu=0.0, **keys):
    return LocalWork(1, 1, learning_rate=0.1, mu=mu, optimizer="adamw", **keys)


def test_the_first_step_of_adamw_is_eta_against_the_sign_of_the_gradient():
    w = torch.tensor([1.0, 2.0])
    AdamW([w], [w.clone()], adamw()).step([torch.tensor([1e-3, -50.0])])
    torch.testing.assert_close(w, torch.tensor([0.9, 2.1]))


def test_weight_decay_of_adamw_is_decoupled():
    """w <- w - eta lambda w, then the step: 1 - 0.1 * 0.5 * 1 - 0.1."""
    w = torch.tensor([1.0])
    AdamW([w], [w.clone()], adamw(weight_decay=0.5)).step([torch.tensor([7.0])])
    torch.testing.assert_close(w, torch.tensor([0.85]))


def test_in_the_loss_the_proximal_term_is_divided_by_the_size_of_the_gradient():
    """g = -1 + 2 (3 - 1) = 3 turns round the step's sign, and no mu makes the step longer."""
    for mu, expected in ((0.0, 3.1), (2.0, 2.9), (2000.0, 2.9)):
        w = torch.tensor([3.0])
        AdamW([w], [torch.tensor([1.0])], adamw(mu)).step([torch.tensor([-1.0])])
        torch.testing.assert_close(w, torch.tensor([expected]))


def test_decoupled_the_proximal_term_is_a_step_of_its_own():
    """3 - 0.1 * 2 * (3 - 1), and then 0.1 against the sign of g."""
    w = torch.tensor([3.0])
    work = adamw(2.0, proximal_term="decoupled")
    AdamW([w], [torch.tensor([1.0])], work).step([torch.tensor([-1.0])])
    torch.testing.assert_close(w, torch.tensor([2.7]))


@pytest.mark.parametrize("proximal_term", ["in_loss", "decoupled"])
def test_at_mu_of_zero_adamw_computes_no_proximal_term(proximal_term):
    """Where w_global is infinite, 0 (w - w_global) would not be 0."""
    w, expected, g = torch.ones(100), torch.ones(100), torch.linspace(-1, 1, 100)
    work = adamw(proximal_term=proximal_term)
    AdamW([w], [torch.full((100,), torch.inf)], work).step([g.clone()])
    AdamW([expected], [expected.clone()], adamw()).step([g.clone()])
    assert torch.equal(w, expected)


def test_steps_of_adamw_are_those_of_the_objective_with_the_term_in_it():
    """A quadratic, against PyTorch's AdamW on F + mu/2 ||w - w_global||^2."""
    target, w_global = torch.tensor([1.0, -2.0]), torch.tensor([0.5, 0.5])
    work = adamw(0.7, weight_decay=0.01)
    w, expected = w_global.clone(), w_global.clone().requires_grad_()
    ours = make_optimizer([w], [w_global], work)
    torchs = torch.optim.AdamW([expected], lr=0.1, weight_decay=0.01)
    for _ in range(20):
        ours.step([w - target])
        torchs.zero_grad()
        h = (expected - target).square().sum() / 2 + 0.35 * (expected - w_global).square().sum()
        h.backward()
        torchs.step()
    torch.testing.assert_close(w, expected.detach())
