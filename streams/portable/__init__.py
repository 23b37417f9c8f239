"""Versions in ONNX: the same answers without scikit-learn.

graph.py an ONNX graph in the making · inputs.py a frame as its two inputs · encoding.py what
prepares columns · trees.py trees · estimators.py estimators of all kinds · convert.py the whole of
a version · session.py runs it · parity.py proves that the answers are the same

Needs the packages of ``weir[onnx]``: onnx, onnxruntime, and skl2onnx for estimators that are not
converted here.
"""
