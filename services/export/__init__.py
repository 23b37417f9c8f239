"""Versions for elsewhere: in ONNX, in a folder that needs onnxruntime alone, in smaller forms.

rows.py rows to prove and to judge by · forms.py smaller forms of a model · judge.py size, speed and
loss of each · edge.py the folder · runner.py.txt what runs there
"""
