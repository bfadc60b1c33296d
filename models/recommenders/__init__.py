"""Learned models behind one small protocol (`base.Recommender`), and the exact choice of the best movies (`topk`)."""
